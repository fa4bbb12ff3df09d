/** What the page calls an archive by: a hash, so that no place of a host has to be taken from a browser. */

import { createHash } from 'node:crypto'

export function archiveId({
  host,
  job,
  place,
  name,
}: {
  host: string
  job: string
  place: string
  name: string
}): string {
  return createHash('sha256')
    .update(JSON.stringify([host, job, place, name]))
    .digest('base64url')
    .slice(0, 22)
}
