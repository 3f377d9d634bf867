/**
 * An error as WAF answers it: a stable code, a message for people, an HTTP status, and for
 * WAFInvalidParameterException the field, the value and the reason.
 */
export class WafError extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: Readonly<Record<string, string>>;

  constructor(
    code: string,
    message: string,
    status: number = statusOf(code),
    details: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.name = "WafError";
    this.code = code;
    this.status = status;
    this.details = details;
  }
}

/** The HTTP status of an error code: WAF's client errors are all 400, throttling included. */
export function statusOf(code: string): number {
  switch (code) {
    case "WAFInternalErrorException":
    case "InternalFailure":
      return 500;
    case "ServiceUnavailable":
      return 503;
    default:
      return 400;
  }
}

/** A well-formed value that WAF does not accept. */
export function invalidParameter(field: string, parameter: string, reason: string): WafError {
  return new WafError(
    "WAFInvalidParameterException",
    `Error reason: ${reason}, field: ${field}, parameter: ${parameter}`,
    400,
    { Field: field, Parameter: parameter, Reason: reason },
  );
}

/** No IP set has this name, id and scope. */
export function nonexistentItem(): WafError {
  return new WafError(
    "WAFNonexistentItemException",
    "AWS WAF couldn’t perform the operation because your resource doesn’t exist.",
  );
}

/** The name is taken in this scope. */
export function duplicateItem(): WafError {
  return new WafError(
    "WAFDuplicateItemException",
    "AWS WAF couldn’t perform the operation because some resource in your request is a duplicate of an existing one.",
  );
}

/** The lock token is not the current one. */
export function optimisticLock(): WafError {
  return new WafError(
    "WAFOptimisticLockException",
    "AWS WAF couldn’t save your changes because someone changed the resource after you started to edit it. Reapply your changes.",
  );
}

/** A quota is exceeded. */
export function limitsExceeded(): WafError {
  return new WafError(
    "WAFLimitsExceededException",
    "AWS WAF couldn’t perform the operation because you exceeded your resource limit.",
  );
}

/** The account's request rate is exceeded. */
export function throttling(): WafError {
  return new WafError("ThrottlingException", "Rate exceeded");
}
