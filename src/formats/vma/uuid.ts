/** "01234567-89ab-4cde-8f01-23456789abcd" for the 16 bytes of a header (RFC 9562, section 4). */
export function uuidText(uuid: Uint8Array): string {
  return Buffer.from(uuid)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
