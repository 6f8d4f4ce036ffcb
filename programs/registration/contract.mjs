/**
 * The contract of Signal's registration service, `org.signal.registration.rpc.RegistrationService`: what Whisper sends,
 * and what it understands. Fields that only newer callers send (mobile country and network codes) are left out: unknown
 * fields are skipped.
 */

export const SERVICE = 'org.signal.registration.rpc.RegistrationService';

/** @typedef {import('../lib/protobuf.mjs').Schema} Schema */

/** @type {Schema} */
const METADATA = {
  session_id: [1, 'bytes'],
  verified: [2, 'bool'],
  e164: [3, 'uint64'],
  may_request_sms: [4, 'bool'],
  next_sms_seconds: [5, 'uint64'],
  may_request_voice_call: [6, 'bool'],
  next_voice_call_seconds: [7, 'uint64'],
  may_check_code: [8, 'bool'],
  next_code_check_seconds: [9, 'uint64'],
  expiration_seconds: [10, 'uint64'],
};

/** @type {Schema} */
const ERROR = { type: [1, 'enum'], may_retry: [2, 'bool'], retry_after_seconds: [3, 'uint64'] };
/** @type {Schema} */
const FIRST = { session_metadata: [1, METADATA], error: [2, ERROR] };
/** @type {Schema} */
const LATER = { session_metadata: [2, METADATA], error: [3, ERROR] };

/** @type {Record<string, { request: Schema, response: Schema }>} */
export const METHODS = {
  CreateSession: {
    request: {
      e164: [1, 'uint64'],
      account_exists_with_e164: [2, 'bool'],
      rate_limit_collation_key: [3, 'string'],
    },
    response: FIRST,
  },
  GetSessionMetadata: { request: { session_id: [1, 'bytes'] }, response: FIRST },
  SendVerificationCode: {
    request: {
      transport: [2, 'enum'],
      accept_language: [3, 'string'],
      client_type: [4, 'enum'],
      session_id: [5, 'bytes'],
      sender_name: [6, 'string'],
    },
    response: LATER,
  },
  CheckVerificationCode: {
    request: { session_id: [1, 'bytes'], verification_code: [2, 'string'] },
    response: LATER,
  },
};

export const Transport = { SMS: 1, VOICE: 2 };
export const CreateError = { RATE_LIMITED: 1, ILLEGAL_PHONE_NUMBER: 2 };
export const GetError = { NOT_FOUND: 1 };
export const SendError = {
  SENDER_REJECTED: 1,
  RATE_LIMITED: 3,
  SESSION_NOT_FOUND: 4,
  SESSION_ALREADY_VERIFIED: 5,
  TRANSPORT_NOT_ALLOWED: 6,
};
export const CheckError = { NO_CODE_SENT: 1, RATE_LIMITED: 2, SESSION_NOT_FOUND: 3, ATTEMPT_EXPIRED: 4 };
