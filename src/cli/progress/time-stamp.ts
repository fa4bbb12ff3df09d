/** "2026-11-28 13:05:11", in the zone of the user, as other logs of the system have it. */
export function timeStamp(time: Date): string {
  const pad = (value: number) => String(value).padStart(2, '0')
  const day = [time.getFullYear(), time.getMonth() + 1, time.getDate()].map(pad).join('-')
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(':')}`
}
