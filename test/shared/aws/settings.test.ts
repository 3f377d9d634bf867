import { describe, expect, test } from "@jest/globals";
import * as v from "valibot";
import { settings as blacklistSettings } from "../../../services/blacklist/settings.ts";
import { settings as enforcerSettings } from "../../../services/enforcer/settings.ts";
import { settings as workerSettings } from "../../../services/worker/settings.ts";
import {
  aclId,
  readSettings,
  SettingsError,
  text,
  wholeNumber,
} from "../../../shared/aws/settings.ts";

const schema = v.object({ ACL_ID: aclId, TABLE_NAME: text, EXPIRY_TIME: wholeNumber(1, 3_600) });
const environment = {
  ACL_ID: "acl-0123456789abcdef0",
  TABLE_NAME: "blacklist_ip",
  EXPIRY_TIME: "60",
};

describe("readSettings", () => {
  test("gives typed values and leaves the rest of the environment out", () => {
    expect(readSettings(schema, { ...environment, PATH: "/usr/bin" })).toEqual({
      ACL_ID: "acl-0123456789abcdef0",
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
    ["ACL_ID", "acl-unset", "ACL_ID must be a network ACL's id, as acl-0123456789abcdef0."],
    [
      "ACL_ID",
      "sg-0123456789abcdef0",
      "ACL_ID must be a network ACL's id, as acl-0123456789abcdef0.",
    ],
  ])("says what %s=%j must be", (name, value, message) => {
    expect(() => readSettings(schema, { ...environment, [name]: value })).toThrow(
      new SettingsError(message),
    );
  });

  test.each(["acl-01234567", "acl-0123456789abcdef0"])("takes the ACL id %s", (id) => {
    expect(readSettings(schema, { ...environment, ACL_ID: id }).ACL_ID).toBe(id);
  });
});

test.each([
  ["blacklist", blacklistSettings],
  ["worker", workerSettings],
  ["enforcer", enforcerSettings],
])("the %s names what is missing when nothing is set", (_name, settings) => {
  expect(() => readSettings(settings as v.GenericSchema, {})).toThrow(/^[A-Z_]+ is not set\.$/);
});
