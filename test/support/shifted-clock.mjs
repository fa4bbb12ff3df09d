/** Preloaded into a process (NODE_OPTIONS=--import) whose clock is as many milliseconds ahead as the file SHIFTED_CLOCK says just then. */

import { readFileSync } from 'node:fs'

const RealDate = Date
const now = () => RealDate.now() + Number(readFileSync(process.env.SHIFTED_CLOCK, 'utf8'))

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(now())
    else super(...args)
  }

  static now() {
    return now()
  }
}
