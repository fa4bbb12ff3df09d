import { VmapipeError } from '../../core/errors.ts'

/** The error that QEMU or a guest agent reports for a command; the `cause` of a VmapipeError. */
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

/** The class of an error that QEMU itself reported; undefined of any other error. */
export function qmpErrorClass(error: unknown): string | undefined {
  const cause = error instanceof VmapipeError ? error.cause : error
  return cause instanceof QmpError ? cause.class : undefined
}

/** The error of a command that `who` refuses. */
export function refused(who: string, command: string, kind: string, desc: string): VmapipeError {
  return new VmapipeError('FAILED', `${who} refuses ${command}: ${desc}`, { cause: new QmpError(command, kind, desc) })
}
