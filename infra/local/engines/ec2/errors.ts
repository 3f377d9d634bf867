/**
 * An error as EC2 answers it: a stable code, a message for people, an HTTP status.
 *
 * Codes: "Error codes for the Amazon EC2 API", EC2 Developer Guide. Client errors carry 400, but
 * AuthFailure 401, UnauthorizedOperation 403, DryRunOperation 412 (what the service really sends)
 * and RequestLimitExceeded 503.
 */
export class Ec2Error extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status: number = statusOf(code)) {
    super(message);
    this.name = "Ec2Error";
    this.code = code;
    this.status = status;
  }
}

/** The HTTP status that goes with an error code. */
export function statusOf(code: string): number {
  switch (code) {
    case "AuthFailure":
      return 401;
    case "UnauthorizedOperation":
      return 403;
    case "DryRunOperation":
      return 412;
    case "InternalError":
      return 500;
    case "RequestLimitExceeded":
    case "ServiceUnavailable":
    case "Unavailable":
      return 503;
    default:
      return 400;
  }
}

/** A required parameter is absent: MissingParameter. */
export function missingParameter(name: string): Ec2Error {
  return new Ec2Error("MissingParameter", `The request must contain the parameter ${name}`);
}

/** A parameter has a value that EC2 does not take: InvalidParameterValue. */
export function invalidValue(value: string, name: string, why = ""): Ec2Error {
  const reason = why === "" ? "" : ` ${why}`;
  return new Ec2Error(
    "InvalidParameterValue",
    `Value (${value}) for parameter ${name} is invalid.${reason}`,
  );
}
