/** A resource of a compiled template, its intrinsic functions not yet resolved. */
export type Resource = { Type: string; Properties?: Record<string, unknown> };

/** The parts of a compiled CloudFormation template that matter here. */
export type Template = {
  Resources: Record<string, Resource>;
  Outputs?: Record<string, { Value: unknown; Export?: { Name: unknown } }>;
};

/** What `Ref` and `Fn::GetAtt` give for a resource. */
export type Identity = { ref?: string | undefined; attributes: Record<string, string | undefined> };

/** Where values are resolved: all templates of the stacks, which import from one another. */
export type Scope = {
  templates: readonly Template[];
  /** `AWS::Region` and its siblings. */
  pseudo: Readonly<Record<string, string>>;
  /** What a resource is called; its own properties may have to be resolved for that. */
  identify(template: Template, resource: Resource): Identity | undefined;
};

/** An intrinsic function whose value cannot be known here. */
export class UnresolvableError extends Error {
  override name = "UnresolvableError";
}

/**
 * Resolves CloudFormation's `Ref`, `Fn::GetAtt`, `Fn::ImportValue`, `Fn::Sub` and `Fn::Join` all
 * through a value. A property whose value is `AWS::NoValue` is left out, as CloudFormation does.
 *
 * @throws UnresolvableError for anything else
 */
export function resolve(scope: Scope, template: Template, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => resolve(scope, template, item));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first && (first[0] === "Ref" || first[0].startsWith("Fn::"))) {
    return intrinsic(scope, template, first[0], first[1]);
  }
  return Object.fromEntries(
    entries
      .filter(([, item]) => !isNoValue(item))
      .map(([key, item]) => [key, resolve(scope, template, item)]),
  );
}

function intrinsic(scope: Scope, template: Template, name: string, argument: unknown): unknown {
  switch (name) {
    case "Ref":
      return reference(scope, template, String(argument));
    case "Fn::GetAtt": {
      const [id, attribute] = Array.isArray(argument) ? argument : String(argument).split(".", 2);
      return attributeOf(scope, template, String(id), String(attribute));
    }
    case "Fn::ImportValue":
      return imported(scope, String(resolve(scope, template, argument)));
    case "Fn::Join": {
      const [separator, parts] = resolve(scope, template, argument) as [string, unknown[]];
      return parts.join(separator);
    }
    case "Fn::Sub":
      return substituted(scope, template, argument);
    default:
      throw new UnresolvableError(`${name} is not supported locally: ${JSON.stringify(argument)}`);
  }
}

function reference(scope: Scope, template: Template, id: string): string {
  const found = scope.pseudo[id] ?? identity(scope, template, id)?.ref;
  if (found !== undefined) return found;
  throw new UnresolvableError(`Ref ${id} has no value locally`);
}

function attributeOf(scope: Scope, template: Template, id: string, attribute: string): string {
  const found = identity(scope, template, id)?.attributes[attribute];
  if (found !== undefined) return found;
  throw new UnresolvableError(`Fn::GetAtt ${id}.${attribute} has no value locally`);
}

function identity(scope: Scope, template: Template, id: string): Identity | undefined {
  const resource = template.Resources[id];
  return resource && scope.identify(template, resource);
}

function imported(scope: Scope, name: string): unknown {
  for (const template of scope.templates) {
    for (const output of Object.values(template.Outputs ?? {})) {
      if (output.Export && resolve(scope, template, output.Export.Name) === name) {
        return resolve(scope, template, output.Value);
      }
    }
  }
  throw new UnresolvableError(`Fn::ImportValue ${name}: no template exports it`);
}

function substituted(scope: Scope, template: Template, argument: unknown): string {
  const [text, variables] = (Array.isArray(argument) ? argument : [argument, {}]) as [
    string,
    Record<string, unknown>,
  ];
  return text.replace(/\$\{(!?)([^}]+)\}/g, (_, literal: string, name: string) => {
    if (literal) return `\${${name}}`;
    if (name in variables) return String(resolve(scope, template, variables[name]));
    const [id = "", attribute] = name.split(".", 2);
    return attribute === undefined
      ? reference(scope, template, id)
      : attributeOf(scope, template, id, attribute);
  });
}

const isNoValue = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "Ref" in value && value.Ref === "AWS::NoValue";
