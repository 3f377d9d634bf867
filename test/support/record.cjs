// Loaded into a program by --require: notes each call that its AWS SDK clients send, one JSON line each.
const { appendFileSync } = require("node:fs");
const { CloudFormationClient } = require("@aws-sdk/client-cloudformation");

// All clients of the SDK inherit their `send` from one class.
const { prototype } = Object.getPrototypeOf(CloudFormationClient);
const { send } = prototype;

prototype.send = function record(command, ...rest) {
  // What says nothing of where a call goes, and may be large.
  const { Body, Payload, TemplateBody, ...input } = command.input ?? {};
  const name = command.constructor.name.replace(/Command$/, "");
  const call = { service: this.config.serviceId, name, input };
  appendFileSync(process.env.AWS_CALLS, `${JSON.stringify(call)}\n`);
  return send.call(this, command, ...rest);
};
