/** A rule: a value to equal, or an object with one operator. */
type Rule = null | boolean | number | string | Readonly<Record<string, unknown>>;

/** A pattern: rules at the leaves, any of which may match; fields, all of which must. */
type Pattern = { readonly [field: string]: Pattern | readonly Rule[] };

/**
 * Turns an event source mapping's `FilterCriteria` into one predicate.
 *
 * Lambda's rules: a record passes when any of the patterns matches; a pattern matches when every
 * field it names does; a field matches when any rule of its list does; against an array, when any
 * of its items does. Without patterns everything passes.
 *
 * @throws Error for a pattern that AWS would refuse
 */
export function compileFilters(patterns: readonly string[]): (record: unknown) => boolean {
  const compiled = patterns.map((text) => {
    const pattern: unknown = JSON.parse(text);
    assertPattern(pattern);
    return pattern;
  });
  return (record) => compiled.length === 0 || compiled.some((pattern) => fits(pattern, record));
}

function fits(pattern: Pattern, value: unknown): boolean {
  return Object.entries(pattern).every(([field, wanted]) => {
    if (field === "$or") return (wanted as readonly Pattern[]).some((each) => fits(each, value));
    const found = isObject(value) ? value[field] : undefined;
    return isRules(wanted)
      ? wanted.some((rule) => matches(rule, found))
      : asList(found).some((item) => fits(wanted, item));
  });
}

function matches(rule: Rule, value: unknown): boolean {
  if (isObject(rule) && "exists" in rule) return rule.exists === isLeaf(value);
  return asList(value).some((item) => matchesOne(rule, item));
}

function matchesOne(rule: Rule, value: unknown): boolean {
  if (!isObject(rule)) return value === rule;
  const [operator, operand] = Object.entries(rule)[0] ?? [];
  switch (operator) {
    case "prefix":
      return typeof value === "string" && value.startsWith(String(operand));
    case "suffix":
      return typeof value === "string" && value.endsWith(String(operand));
    case "equals-ignore-case":
      return typeof value === "string" && value.toLowerCase() === String(operand).toLowerCase();
    case "anything-but":
      return value !== undefined && !asList(operand).some((no) => matchesOne(no as Rule, value));
    case "numeric":
      return typeof value === "number" && inRange(operand as readonly unknown[], value);
    default:
      return false;
  }
}

function inRange(comparisons: readonly unknown[], value: number): boolean {
  for (let i = 0; i < comparisons.length; i += 2) {
    const bound = Number(comparisons[i + 1]);
    const holds = {
      "=": value === bound,
      "<": value < bound,
      "<=": value <= bound,
      ">": value > bound,
      ">=": value >= bound,
    }[String(comparisons[i])];
    if (!holds) return false;
  }
  return true;
}

const OPERATORS = new Set([
  "prefix",
  "suffix",
  "equals-ignore-case",
  "anything-but",
  "exists",
  "numeric",
]);

function assertPattern(pattern: unknown): asserts pattern is Pattern {
  if (!isObject(pattern)) throw new Error(`Not a filter pattern: ${JSON.stringify(pattern)}`);
  for (const [field, wanted] of Object.entries(pattern)) {
    if (!Array.isArray(wanted)) assertPattern(wanted);
    else if (field === "$or") wanted.forEach(assertPattern);
    else if (wanted.length === 0) throw new Error(`Filter pattern: ${field} has no rules`);
    else wanted.forEach(assertRule);
  }
}

function assertRule(rule: unknown): void {
  if (!isObject(rule)) return;
  const operators = Object.keys(rule);
  if (operators.length !== 1 || !OPERATORS.has(operators[0] ?? "")) {
    throw new Error(`Filter pattern: unknown rule ${JSON.stringify(rule)}`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isRules = (wanted: Pattern | readonly Rule[]): wanted is readonly Rule[] =>
  Array.isArray(wanted);

/** `exists` looks at leaves only: an object in between does not count as there. */
const isLeaf = (value: unknown): boolean => value !== undefined && !isObject(value);

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);
