/** Opens the place of an archive, as a user writes it (see spec.ts). */

import { filePlace } from './file-place.ts'
import type { Capabilities, Place } from './place.ts'
import { s3Place } from './s3/s3-place.ts'
import { archiveSource } from './source.ts'
import { parsePlace } from './spec.ts'
import { sshPlace } from './ssh-place.ts'
import { archiveTarget } from './target.ts'

/** Throws USAGE if the text has no meaning. Nothing is opened before it is asked for. */
export function openPlace(spec: string): Place {
  const place = parsePlace(spec)
  switch (place.kind) {
    case 'file':
      return filePlace(place.path)
    case 's3':
      return s3Place(place)
    case 'ssh':
      return sshPlace(place)
    default:
      return inOrder(spec, { noReplace: false, durable: false, serverCopy: false })
  }
}

/** A place that can be written and read in order, and nothing else. */
function inOrder(spec: string, can: Capabilities): Place {
  return {
    can,
    target: (options) => archiveTarget(spec, options),
    source: (options) => archiveSource(spec, options),
  }
}
