import fc from "fast-check";
import { InvalidAddressError, parseCidr } from "../../../../shared/domain/cidr.ts";

type Json = unknown;
type Path = readonly (string | number)[];
type Parent = Record<string | number, Json>;

/** What a field may turn into, its text emptied among the rest. */
const retyped = (value: Json): fc.Arbitrary<Json> =>
  fc.constantFrom(null, "", " ", 0, 42, true, [], {}, [value], { value }, String(value), [null], {
    toString: 1,
    valueOf: 1,
  });

/**
 * The document with one field removed, retyped, emptied, moved or copied. What moves keeps its name and
 * takes a place that is free, and an address of somebody else moves only along with what it stands in: a
 * document that says the attacker is another one says just that.
 */
export function mutated(document: Json, attackers: ReadonlySet<string>): fc.Arbitrary<Json> {
  const places = pathsOf(document);
  return fc.constantFrom(...places).chain((path) => {
    const value = at(document, path);
    const changes: fc.Arbitrary<Json>[] = [
      fc.constant(without(document, path)),
      retyped(value).map((other) => withValue(document, path, other)),
    ];
    const key = path.at(-1);
    const free = places.filter((to) => isFreeFor(document, path, to));
    if (key !== undefined && free.length > 0 && !isAnother(value, attackers)) {
      const to = fc.constantFrom(...free).map((place) => [...place, key]);
      changes.push(
        to.map((place) => withValue(document, place, value)),
        to.map((place) => withValue(without(document, path), place, value)),
      );
    }
    if (typeof key === "number") {
      const list = at(document, path.slice(0, -1)) as Json[];
      changes.push(fc.constant(withValue(document, path.slice(0, -1), [value, ...list])));
    }
    return fc.oneof(...changes);
  });
}

export function addressOf(value: Json): string | undefined {
  if (typeof value !== "string") return undefined;
  try {
    return parseCidr(value).text;
  } catch (error) {
    if (!(error instanceof InvalidAddressError)) throw error;
    return undefined;
  }
}

function isAnother(value: Json, attackers: ReadonlySet<string>): boolean {
  const address = addressOf(value);
  return address !== undefined && !attackers.has(address);
}

function pathsOf(value: Json, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const keys = Array.isArray(value) ? value.map((_, index) => index) : Object.keys(value);
  return [path, ...keys.flatMap((key) => pathsOf((value as Parent)[key], [...path, key]))];
}

/** An object outside of what moves that has no such field yet. */
function isFreeFor(document: Json, from: Path, to: Path): boolean {
  const target = at(document, to);
  const key = from.at(-1);
  const isInside = from.every((part, index) => to[index] === part);
  return (
    typeof key === "string" &&
    !isInside &&
    typeof target === "object" &&
    target !== null &&
    !Array.isArray(target) &&
    !Object.hasOwn(target, key)
  );
}

function at(document: Json, path: Path): Json {
  return path.reduce<Json>((value, key) => (value as Parent)[key], document);
}

function without(document: Json, path: Path): Json {
  const key = path.at(-1);
  if (key === undefined) return undefined;
  const copy = structuredClone(document);
  const parent = at(copy, path.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(Number(key), 1);
  else delete (parent as Parent)[key];
  return copy;
}

function withValue(document: Json, path: Path, value: Json): Json {
  const key = path.at(-1);
  if (key === undefined) return value;
  const copy = structuredClone(document);
  const parent = at(copy, path.slice(0, -1)) as Parent;
  parent[key] = value;
  return copy;
}
