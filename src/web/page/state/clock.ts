/** The time of the server, as far as it is known. Relative times follow it: once in ten seconds is enough for them. */

import { signal } from '@preact/signals'

/** Milliseconds by which the server's clock is ahead of the browser's. */
let ahead = 0

export const serverNow = () => Date.now() + ahead

export const clock = signal(Date.now())

setInterval(() => {
  clock.value = serverNow()
}, 10_000)

/** Sets the clock by the `Date` of an answer that has just come. A difference below two seconds is the way of the answer. */
export function heardTime(at: string): void {
  const difference = new Date(at).getTime() - Date.now()
  if (Math.abs(difference - ahead) > 2000) {
    ahead = difference
    clock.value = serverNow()
  }
}
