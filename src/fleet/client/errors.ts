/** What went wrong on the way to the planner, in words that say what to do. */

import { asVmapipeError, describe, VmapipeError } from '../../core/errors.ts'

/** Errors of OpenSSL about the certificate of the server, and what they mean. */
const CERTIFICATES: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not known here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its authority is not known here',
  UNABLE_TO_GET_ISSUER_CERT: 'its authority is not known here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is not known here',
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet; is the clock of this host right?',
  CERT_SIGNATURE_FAILURE: 'its signature is wrong',
  CERT_REVOKED: 'it was revoked',
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for another name',
}

const UNKNOWN = /SELF_SIGNED|VERIFY|ISSUER/

/** `place`: the URL or the path of the socket. */
export function connectionError(place: string, error: NodeJS.ErrnoException, isSocket: boolean): VmapipeError {
  if (error instanceof VmapipeError) return error
  const { code = '' } = error
  const reason = CERTIFICATES[code]
  if (reason !== undefined)
    return new VmapipeError('FAILED', `the certificate of the planner at ${place} is not accepted: ${reason}`, {
      hint: UNKNOWN.test(code)
        ? 'give the certificate of its authority, or its own, by --ca FILE'
        : code === 'ERR_TLS_CERT_ALTNAME_INVALID'
          ? 'use a name that is in the certificate'
          : undefined,
      cause: error,
    })
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' || code === 'EPROTO')
    return new VmapipeError('FAILED', `${place} does not speak TLS`, {
      hint: 'a planner on loopback may listen for http://',
      cause: error,
    })
  if (isSocket && (code === 'ENOENT' || code === 'ECONNREFUSED'))
    return new VmapipeError('FAILED', `no planner of this user runs here: nothing listens at '${place}'`, {
      hint: 'start it by vmapipe fleet serve, or name another host by --url',
      cause: error,
    })
  if (isSocket && code === 'EACCES')
    return new VmapipeError('FAILED', `the socket of the planner is another user's: ${place}`, {
      hint: 'be that user, or use --url with a token',
      cause: error,
    })
  if (code === 'ECONNREFUSED')
    return new VmapipeError('FAILED', `no planner listens at ${place}: connection refused (ECONNREFUSED)`, {
      cause: error,
    })
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new VmapipeError('FAILED', `the name of the planner's host cannot be resolved: ${place} (${code})`, {
      cause: error,
    })
  if (error.name === 'AbortError') return asVmapipeError(error)
  return new VmapipeError('FAILED', `the connection to the planner at ${place} broke: ${describe(error)}`, {
    cause: error,
  })
}
