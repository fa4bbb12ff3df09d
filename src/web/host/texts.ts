/** Texts of this host for people elsewhere: times in lines, and names of downloads. */

/** "2026-11-29 21:40 UTC", of a time as ISO 8601: the zone of who reads is not known here. */
export function timeText(time: string): string {
  return `${time.slice(0, 16).replace('T', ' ')} UTC`
}

/** The name of a guest's file, in its own script: no path, nothing that a shell or a filesystem takes for anything else. */
export function fileName(name: string): string {
  const plain = name.replace(/[^\p{L}\p{M}\p{N} ._+@,()-]+/gu, '_').replace(/^[.\s-]+/, '_')
  return [...plain].slice(0, 150).join('') || 'download'
}

/** A name that no browser, header or shell can take for anything else. */
export function plainName(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^[.-]+/, '_')
  return plain.slice(0, 100) || 'download'
}
