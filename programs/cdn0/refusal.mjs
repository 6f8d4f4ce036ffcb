/** The gate's answers other than success, as S3 would give them. */

/** Codes of S3's error responses, and their statuses. */
const STATUS = {
  // codes of S3's error responses
  EntityTooSmall: 400,
  InvalidArgument: 400,
  InvalidPolicyDocument: 400,
  InvalidRequest: 400,
  MalformedPOSTRequest: 400,
  AccessDenied: 403,
  InvalidAccessKeyId: 403,
  RequestTimeTooSkewed: 403,
  SignatureDoesNotMatch: 403,
  NoSuchKey: 404,
  MethodNotAllowed: 405,
  RequestTimeout: 408,
  MissingContentLength: 411,
  PreconditionFailed: 412,
  EntityTooLarge: 413,
  InvalidRange: 416,
  InternalError: 500,
  ServiceUnavailable: 502,
  SlowDown: 503,
};

// An answer other than success. The message holds nothing that came from the client or from the upstream.
/** @typedef {keyof typeof STATUS} Code */

/** An answer other than success. The message holds nothing that came from the client or from the upstream. */
export class Refusal extends Error {
  /**
   * @param {Code} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
    this.status = STATUS[code];
  }
}

/**
 * @param {unknown} ok
 * @param {Code} code
 * @param {string} message
 * @returns {asserts ok}
 */
export function insist(ok, code, message) {
  if (!ok) throw new Refusal(code, message);
}

/**
 * @param {unknown} ok
 * @param {string} message
 * @returns {asserts ok}
 */
export function wellFormed(ok, message) {
  insist(ok, 'MalformedPOSTRequest', message);
}

/**
 * @param {unknown} ok
 * @param {string} message
 * @returns {asserts ok}
 */
export function allowed(ok, message) {
  insist(ok, 'AccessDenied', message);
}
