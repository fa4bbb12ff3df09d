/** The error of a place that does not let go of an archive before its time, such as a bucket with Object Lock. */

import { VmapipeError } from '../../core/errors.ts'

export class RetainedArchive extends VmapipeError {
  constructor(place: string, how: string) {
    super('FAILED', `'${place}' ${how}, and cannot be removed`, { hint: 'the store lets nobody remove it before' })
  }
}
