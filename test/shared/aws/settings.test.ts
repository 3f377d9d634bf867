import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { settings as blacklistSettings } from "../../../services/blacklist/settings.ts";
import { settings as enforcerSettings } from "../../../services/enforcer/settings.ts";
import { settings as workerSettings } from "../../../services/worker/settings.ts";
import {
  aclIds,
  ipSetNames,
  readSettings,
  SettingsError,
  severityByTarget,
  text,
  wholeNumber,
} from "../../../shared/aws/settings.ts";

const schema = v.object({
  ACL_ID: aclIds,
  WAF_IP_SETS: ipSetNames,
  LEAST_SEVERITY: severityByTarget,
  TABLE_NAME: text,
  EXPIRY_TIME: wholeNumber(1, 3_600),
});
const ACLS = "must be ids of network ACLs, as acl-0123456789abcdef0, separated by commas";
const SETS = "must be names of letters, digits, - and _, separated by commas";
const SEVERITIES = "must be target=severity, with a severity from 1 to 10, separated by commas";
const environment = {
  ACL_ID: "acl-0123456789abcdef0",
  WAF_IP_SETS: "web,api",
  LEAST_SEVERITY: "web=3",
  TABLE_NAME: "blacklist_ip",
  EXPIRY_TIME: "60",
};

describe("readSettings", () => {
  test("gives typed values and leaves the rest of the environment out", () => {
    expect(readSettings(schema, { ...environment, PATH: "/usr/bin" })).toEqual({
      ACL_ID: ["acl-0123456789abcdef0"],
      WAF_IP_SETS: ["web", "api"],
      LEAST_SEVERITY: { web: 3 },
      TABLE_NAME: "blacklist_ip",
      EXPIRY_TIME: 60,
    });
  });

  test.each(Object.keys(environment))("names %s where it is not set", (name) => {
    const without = { ...environment, [name]: undefined };
    expect(() => readSettings(schema, without)).toThrow(new SettingsError(`${name} is not set.`));
  });

  test.each([
    ["EXPIRY_TIME", "0", "EXPIRY_TIME must be at least 1."],
    ["EXPIRY_TIME", "3601", "EXPIRY_TIME must be at most 3600."],
    ["EXPIRY_TIME", "", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["EXPIRY_TIME", "-1", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["EXPIRY_TIME", "1.5", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["EXPIRY_TIME", "1e3", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["EXPIRY_TIME", " 60", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["EXPIRY_TIME", "an hour", "EXPIRY_TIME must be a whole number from 1 to 3600."],
    ["TABLE_NAME", "", "TABLE_NAME must not be empty."],
    ["ACL_ID", "acl-unset", `ACL_ID ${ACLS}.`],
    ["ACL_ID", "sg-0123456789abcdef0", `ACL_ID ${ACLS}.`],
    ["ACL_ID", "acl-01234567,acl-unset", `ACL_ID ${ACLS}.`],
    ["ACL_ID", "acl-01234567 acl-89abcdef", `ACL_ID ${ACLS}.`],
    ["WAF_IP_SETS", "web,a/b", `WAF_IP_SETS ${SETS}.`],
    ["WAF_IP_SETS", "x".repeat(126), `WAF_IP_SETS ${SETS}.`],
    ["LEAST_SEVERITY", "web", `LEAST_SEVERITY ${SEVERITIES}.`],
    ["LEAST_SEVERITY", "web=0", `LEAST_SEVERITY ${SEVERITIES}.`],
    ["LEAST_SEVERITY", "web=11", `LEAST_SEVERITY ${SEVERITIES}.`],
    ["LEAST_SEVERITY", "web=3,=4", `LEAST_SEVERITY ${SEVERITIES}.`],
  ])("says what %s=%j must be", (name, value, message) => {
    expect(() => readSettings(schema, { ...environment, [name]: value })).toThrow(
      new SettingsError(message),
    );
  });

  const read = (change: Partial<typeof environment>) =>
    readSettings(schema, { ...environment, ...change });

  test.each([
    ["acl-01234567", ["acl-01234567"]],
    ["acl-01234567,acl-0123456789abcdef0", ["acl-01234567", "acl-0123456789abcdef0"]],
    [" acl-01234567 ,, acl-89abcdef, acl-01234567", ["acl-01234567", "acl-89abcdef"]],
    ["", []],
    [" , ", []],
  ])("takes the ACL ids %j, each once", (list, ids) => {
    expect(read({ ACL_ID: list }).ACL_ID).toEqual(ids);
  });

  test("takes the names of IP sets, as long as a family's ending leaves them", () => {
    expect(read({ WAF_IP_SETS: "" }).WAF_IP_SETS).toEqual([]);
    const names = ["web_1", "api-2", "x".repeat(125)];
    expect(read({ WAF_IP_SETS: names.join(",") }).WAF_IP_SETS).toEqual(names);
  });

  test("takes the least severity of each target", () => {
    expect(read({ LEAST_SEVERITY: "" }).LEAST_SEVERITY).toEqual({});
    expect(read({ LEAST_SEVERITY: "web=10, acl-01234567=2" }).LEAST_SEVERITY).toEqual({
      web: 10,
      "acl-01234567": 2,
    });
  });
});

test.each([
  ["blacklist", blacklistSettings],
  ["worker", workerSettings],
  ["enforcer", enforcerSettings],
])("the %s names what is missing when nothing is set", (_name, settings) => {
  expect(() => readSettings(settings as v.GenericSchema, {})).toThrow(/^[A-Z_]+ is not set\.$/);
});
