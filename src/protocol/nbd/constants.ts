/**
 * Numbers of the NBD protocol; sections are those of doc/proto.md of the NBD project. All integers on the wire are
 * big-endian. Client and server side share this file.
 */

// "Newstyle negotiation"
export const NBDMAGIC = 0x4e42444d41474943n
export const IHAVEOPT = 0x49484156454f5054n
export const OLDSTYLE_MAGIC = 0x00420281861253n
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n

/** "Terminology" / "Values": the longest string that every server takes, in bytes. */
export const MAX_STRING = 4096

/** "Handshake flags", of the server and (the same bits) of the client. */
export const FLAG_FIXED_NEWSTYLE = 1 << 0
export const FLAG_NO_ZEROES = 1 << 1

/** "Transmission flags". */
export const FLAG_HAS_FLAGS = 1 << 0
export const FLAG_READ_ONLY = 1 << 1
export const FLAG_SEND_FLUSH = 1 << 2
export const FLAG_SEND_FUA = 1 << 3
export const FLAG_SEND_TRIM = 1 << 5
export const FLAG_SEND_WRITE_ZEROES = 1 << 6
export const FLAG_SEND_DF = 1 << 7
export const FLAG_CAN_MULTI_CONN = 1 << 8
export const FLAG_SEND_CACHE = 1 << 10
export const FLAG_SEND_FAST_ZERO = 1 << 11

/** "Option types". */
export const OPT_EXPORT_NAME = 1
export const OPT_ABORT = 2
export const OPT_LIST = 3
export const OPT_STARTTLS = 5
export const OPT_INFO = 6
export const OPT_GO = 7
export const OPT_STRUCTURED_REPLY = 8
export const OPT_LIST_META_CONTEXT = 9
export const OPT_SET_META_CONTEXT = 10

/** "Option reply types". */
export const REP_ACK = 1
export const REP_SERVER = 2
export const REP_INFO = 3
export const REP_META_CONTEXT = 4
export const REP_FLAG_ERROR = 2 ** 31
export const REP_ERR_UNSUP = REP_FLAG_ERROR + 1
export const REP_ERR_INVALID = REP_FLAG_ERROR + 3
export const REP_ERR_TLS_REQD = REP_FLAG_ERROR + 5
export const REP_ERR_UNKNOWN = REP_FLAG_ERROR + 6
export const REP_ERR_TOO_BIG = REP_FLAG_ERROR + 9

/** Information of NBD_REP_INFO ("Option reply types"). */
export const INFO_EXPORT = 0
export const INFO_NAME = 1
export const INFO_DESCRIPTION = 2
export const INFO_BLOCK_SIZE = 3

/** "Request message" and "Simple reply message". */
export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef
export const REQUEST_BYTES = 28
export const SIMPLE_REPLY_BYTES = 16
export const CHUNK_HEADER_BYTES = 20

/** "Request types". */
export const CMD_READ = 0
export const CMD_WRITE = 1
export const CMD_DISC = 2
export const CMD_FLUSH = 3
export const CMD_TRIM = 4
export const CMD_CACHE = 5
export const CMD_WRITE_ZEROES = 6
export const CMD_BLOCK_STATUS = 7

/** For messages. */
export const COMMANDS: Record<number, string> = {
  [CMD_READ]: 'READ',
  [CMD_WRITE]: 'WRITE',
  [CMD_FLUSH]: 'FLUSH',
  [CMD_TRIM]: 'TRIM',
  [CMD_CACHE]: 'CACHE',
  [CMD_WRITE_ZEROES]: 'WRITE_ZEROES',
  [CMD_BLOCK_STATUS]: 'BLOCK_STATUS',
}

/** "Command flags". */
export const CMD_FLAG_FUA = 1 << 0
export const CMD_FLAG_NO_HOLE = 1 << 1
export const CMD_FLAG_DF = 1 << 2
export const CMD_FLAG_REQ_ONE = 1 << 3
export const CMD_FLAG_FAST_ZERO = 1 << 4

/** "Structured reply flags" and "Structured reply types". */
export const REPLY_FLAG_DONE = 1 << 0
export const REPLY_TYPE_NONE = 0
export const REPLY_TYPE_OFFSET_DATA = 1
export const REPLY_TYPE_OFFSET_HOLE = 2
export const REPLY_TYPE_BLOCK_STATUS = 5
export const REPLY_TYPE_FLAG_ERROR = 1 << 15
export const REPLY_TYPE_ERROR = REPLY_TYPE_FLAG_ERROR + 1
export const REPLY_TYPE_ERROR_OFFSET = REPLY_TYPE_FLAG_ERROR + 2

/** "Metadata querying": the context that tells what is allocated, and its flags. */
export const BASE_ALLOCATION = 'base:allocation'
export const STATE_HOLE = 1 << 0
export const STATE_ZERO = 1 << 1

/** "Size constraints": what a client assumes if the server gives no block sizes. */
export const DEFAULT_MIN_BLOCK = 512
export const DEFAULT_MAX_PAYLOAD = 32 * 1024 * 1024

/** "Error values". */
export const EPERM = 1
export const EIO = 5
export const ENOMEM = 12
export const EINVAL = 22
export const ENOSPC = 28
export const EOVERFLOW = 75
export const ENOTSUP = 95
export const ESHUTDOWN = 108

export const ERRORS: Record<number, string> = {
  1: 'operation not permitted (EPERM)',
  5: 'input/output error (EIO)',
  12: 'out of memory (ENOMEM)',
  22: 'invalid argument (EINVAL)',
  28: 'no space left (ENOSPC)',
  75: 'value too large (EOVERFLOW)',
  95: 'not supported (ENOTSUP)',
  108: 'the server is shutting down (ESHUTDOWN)',
}

/** Their names as the system has them. */
export const ERROR_CODES: Record<number, string> = {
  [EPERM]: 'EPERM',
  [EIO]: 'EIO',
  [ENOMEM]: 'ENOMEM',
  [EINVAL]: 'EINVAL',
  [ENOSPC]: 'ENOSPC',
  [EOVERFLOW]: 'EOVERFLOW',
  [ENOTSUP]: 'ENOTSUP',
  [ESHUTDOWN]: 'ESHUTDOWN',
}
