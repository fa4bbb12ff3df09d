/** Schedules as cron writes them (crontab(5)) and as systemd does (systemd.time(7)), and each as the other. */

import { VmapipeError } from '../../core/errors.ts'
import { isCron } from '../schedule.ts'

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC']

const WORDS: Record<string, string> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
}

interface Field {
  name: string
  least: number
  most: number
  names?: readonly string[]
}

const FIELDS: readonly Field[] = [
  { name: 'minute', least: 0, most: 59 },
  { name: 'hour', least: 0, most: 23 },
  { name: 'day of the month', least: 1, most: 31 },
  { name: 'month', least: 1, most: 12, names: ['', ...MONTHS] },
  { name: 'day of the week', least: 0, most: 7, names: DAYS.map((day) => day.toUpperCase()) },
]

/**
 * Values for OnCalendar=. There are two if cron has both a day of the month and a day of the week, of which one is enough. Throws CONFIG for
 * what is no expression of cron, or is one that only some programs know.
 */
export function cronToCalendar(cron: string): string[] {
  const fields = (WORDS[cron.trim().toLowerCase()] ?? cron).trim().split(/\s+/)
  if (fields.length !== 5) throw wrong(cron, 'it has not five fields')
  const [minutes, hours, days, months, weekdays] = fields.map((text, index) => valuesOf(cron, text, FIELDS[index]))
  const time = `${listed(hours)}:${listed(minutes)}:00`
  const month = listed(months)
  // 7 is Sunday too.
  const names = weekdays && [...new Set(weekdays.map((day) => day % 7))].sort().map((day) => DAYS[day])
  const onDays = `*-${month}-${listed(days)} ${time}`
  const onWeekdays = names && `${names.join(',')} *-${month}-* ${time}`
  if (onWeekdays === null) return [onDays]
  return days === null ? [onWeekdays] : [onDays, onWeekdays]
}

/** The numbers that a field names; null for all. */
function valuesOf(cron: string, text: string, { name, least, most, names }: Field): number[] | null {
  const values = new Set<number>()
  for (const part of text.split(',')) {
    const [, from, to, step] = /^(\*|\w+)(?:-(\w+))?(?:\/(\d+))?$/.exec(part) ?? []
    if (from === undefined) throw wrong(cron, `'${part}' is no ${name} for systemd`)
    const number = (word: string) => {
      const known = names?.indexOf(word.toUpperCase()) ?? -1
      const value = known > -1 && word !== '' ? known : Number(word)
      if (!Number.isInteger(value) || value < least || value > most) throw wrong(cron, `'${word}' is no ${name}`)
      return value
    }
    const every = step === undefined ? 1 : Number(step)
    if (every < 1) throw wrong(cron, `'${part}' is no ${name}`)
    const first = from === '*' ? least : number(from)
    const last = from === '*' ? most : to === undefined ? (step === undefined ? first : most) : number(to)
    if (last < first) throw wrong(cron, `'${part}' ends before it begins`)
    for (let value = first; value <= last; value += every) values.add(value)
  }
  const all = most - least + 1
  return text === '*' || values.size === all ? null : [...values].sort((a, b) => a - b)
}

function listed(values: number[] | null): string {
  return values === null ? '*' : values.map((value) => String(value).padStart(2, '0')).join(',')
}

function wrong(schedule: string, why: string): VmapipeError {
  return new VmapipeError('CONFIG', `the schedule '${schedule}' cannot be given to systemd: ${why}`, {
    hint: 'write it as systemd reads it, such as Mon..Sat 01:30',
  })
}

const CALENDAR_WORDS: Record<string, string> = {
  hourly: '0 * * * *',
  daily: '0 0 * * *',
  weekly: '0 0 * * 1',
  monthly: '0 0 1 * *',
  yearly: '0 0 1 1 *',
  annually: '0 0 1 1 *',
}

const CALENDAR = /^(?:([A-Za-z,.]+) +)?(?:(?:\*-)?\*-(\*|\d{1,2}(?:,\d{1,2})*) +)?(\*|[\d,]+):(\*|[\d,]+)(?::00)?$/

/** The fields of cron for a schedule of either kind. Throws CONFIG for an event of systemd that cron cannot have. */
export function toCron(schedule: string): string {
  const text = schedule.trim()
  if (isCron(text)) return WORDS[text.toLowerCase()] ?? text
  const word = CALENDAR_WORDS[text.toLowerCase()]
  if (word !== undefined) return word
  const [, weekdays, days = '*', hours, minutes] = CALENDAR.exec(text) ?? []
  if (hours === undefined || (weekdays !== undefined && days !== '*')) {
    throw new VmapipeError('CONFIG', `the schedule '${schedule}' cannot be written in a crontab`, {
      hint: 'write it as cron does, such as 30 1 * * 1-6',
    })
  }
  const plain = (list: string) =>
    list
      .split(',')
      .map((value) => (value === '*' ? value : String(Number(value))))
      .join(',')
  return `${plain(minutes)} ${plain(hours)} ${plain(days)} * ${weekdays === undefined ? '*' : weekdaysOf(schedule, weekdays)}`
}

function weekdaysOf(schedule: string, text: string): string {
  const number = (name: string) => {
    const found = DAYS.findIndex((day) => name.slice(0, 3).toLowerCase() === day.toLowerCase())
    if (found === -1) throw wrong(schedule, `'${name}' is no day of the week`)
    return found
  }
  const days = text.split(',').flatMap((part) => {
    const [from, to] = part.split('..').map(number)
    if (to === undefined) return [from]
    return Array.from({ length: ((to - from + 7) % 7) + 1 }, (_, index) => (from + index) % 7)
  })
  return [...new Set(days)].sort().join(',')
}
