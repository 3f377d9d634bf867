import { type Command, InvalidArgumentError } from "commander";
import pc from "picocolors";
import { ROLES, type Role } from "../../../shared/domain/caller.ts";
import { type Seconds, toEpochSeconds } from "../../../shared/domain/time.ts";
import { createCallerBook } from "../callers.ts";
import { onStage, type StageOptions, say, show } from "../output.ts";
import { openStage } from "../stage.ts";

// Who may call, and with what token.

const IN_FORCE = "In force within ten seconds.";
const DAY: Seconds = 86_400;

type NewOptions = StageOptions & {
  readonly role: Role;
  readonly weight?: number;
  readonly expires?: Seconds;
  readonly from?: readonly string[];
  readonly outstanding?: number;
  readonly addressesPerMinute?: number;
  readonly mostSeverity?: number;
  readonly longest?: number;
  readonly signing?: true;
};

export function addToken(program: Command): void {
  const token = program.command("token").description("who may call, and with what token");

  onStage(token.command("new <name>").description("makes a caller; its token is shown this once"))
    .option("--role <role>", ROLES.join(", "), asRole, "detector")
    .option("--weight <number>", "what its reports weigh", asNumber)
    .option("--expires <duration>", "until when it may call, as 90d, 12h", asSeconds)
    .option("--from <cidr...>", "the ranges that it calls from")
    .option("--outstanding <number>", "blocks of its own in force at a time", asNumber)
    .option("--addresses-per-minute <number>", "addresses that it may report", asNumber)
    .option("--most-severity <number>", "a greater severity counts as this one", asNumber)
    .option("--longest <duration>", "a longer block lasts this long, as 1h, 7d", asSeconds)
    .option("--signing", "it may sign requests: the key for that is stored beside the digest")
    .action(async (name: string, options: NewOptions) => {
      const { role, weight, expires, from, outstanding, addressesPerMinute } = options;
      const { mostSeverity, longest } = options;
      const book = await openBook(options);
      const made = await book.add(
        {
          ...{ name, role, weight, outstanding, addressesPerMinute, mostSeverity, longest },
          from: from && [...from],
          expiresAt: expires && toEpochSeconds(Date.now()) + expires,
        },
        options.signing ?? false,
      );
      sayToken(options, name, made);
    });

  onStage(
    token.command("list").description("the callers, and the beginnings of their digests"),
  ).action(async (options: StageOptions) => {
    const callers = await (await openBook(options)).list(Date.now());
    const rows = callers.map(({ name, role, addedBy, tokens, expiresAt }) => [
      name,
      role,
      addedBy,
      tokens
        .map(({ digest, expiresAt: end }) => digest + (end ? ` until ${iso(end)}` : ""))
        .join(", "),
      expiresAt ? iso(expiresAt) : "",
    ]);
    show(options, callers, ["name", "role", "added by", "tokens", "until"], rows);
  });

  onStage(token.command("rotate <name>").description("makes a new token; the old one ends later"))
    .option(
      "--overlap <duration>",
      "how long the old one still holds; 0s: not at all",
      asSeconds,
      DAY,
    )
    .option("--signing", "it may sign requests: the key for that is stored beside the digest")
    .action(async (name: string, options: StageOptions & { overlap: Seconds; signing?: true }) => {
      const { overlap, signing = false } = options;
      const made = await (await openBook(options)).rotate(name, overlap, signing, Date.now());
      sayToken(options, name, made);
    });

  onStage(token.command("revoke <name>").description("from now on the caller may nothing")).action(
    async (name: string, options: StageOptions) => {
      await (await openBook(options)).revoke(name);
      const undo = "What it has in force stays: DELETE /blacklist?detector= takes that back.";
      say(options, { revoked: name }, `Revoked ${name}. ${IN_FORCE}\n${undo}`);
    },
  );
}

async function openBook(options: StageOptions) {
  const stage = openStage(options);
  return createCallerBook(stage.dynamo, stage.ssm, await stage.deployment());
}

/** Only the token goes to standard output, so that it can be piped to where it belongs. */
function sayToken(options: StageOptions, name: string, token: string): void {
  if (options.json) {
    console.log(JSON.stringify({ name, token }));
    return;
  }
  console.error(pc.dim(`The token of ${name}, which cannot be shown again. ${IN_FORCE}`));
  console.log(token);
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();

function asRole(text: string): Role {
  const role = ROLES.find((one) => one === text);
  if (role) return role;
  throw new InvalidArgumentError(`It must be one of ${ROLES.join(", ")}.`);
}

export function asNumber(text: string): number {
  if (/^\d{1,9}(\.\d{1,3})?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a number.");
}

const UNITS: Readonly<Record<string, Seconds>> = { s: 1, m: 60, h: 3_600, d: DAY };

export function asSeconds(text: string): Seconds {
  const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const seconds = UNITS[unit];
  if (count !== undefined && seconds !== undefined) return Number(count) * seconds;
  throw new InvalidArgumentError("It must be a duration, as 30s, 15m, 12h, 90d.");
}
