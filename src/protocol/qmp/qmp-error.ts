import { VmapipeError } from '../../core/errors.ts'

/** What QEMU, or a guest agent, says of a command that failed; the `cause` of the VmapipeError. */
export class QmpError extends Error {
  override name = 'QmpError'
  /** QMP's error class: GenericError, CommandNotFound, DeviceNotFound, … */
  readonly class: string
  readonly command: string

  constructor(command: string, kind: string, desc: string) {
    super(desc)
    this.class = kind
    this.command = command
  }
}

/** The class of the error that QEMU itself answered with; undefined of any other error. */
export function qmpErrorClass(error: unknown): string | undefined {
  const cause = error instanceof VmapipeError ? error.cause : error
  return cause instanceof QmpError ? cause.class : undefined
}
