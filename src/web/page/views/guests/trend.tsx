/** The last backups of a guest as bars with an axis. Each bar has its time and value as its title; a table has them for screen readers. */

import type { GuestRow } from '../../../house.ts'
import { dayTime, exactTime } from '../../format.ts'

type Point = GuestRow['trend'][number]

interface TrendProps {
  name: string
  trend: Point[]
  value: (point: Point) => number
  format: (value: number) => string
}

export function Trend({ name, trend, value, format }: TrendProps) {
  const most = Math.max(...trend.map(value), 1)
  // The last bar is above its time, however few there are.
  const width = `${Math.max(230, trend.length * 36)}px`
  return (
    <figure class="trend">
      <figcaption>
        {name}{' '}
        <span class="quiet">
          last {format(value(trend.at(-1)!))}, at most {format(most)}
        </span>
      </figcaption>
      <div class="trend-bars" aria-hidden="true" style={{ maxWidth: width }}>
        {trend.map((point) => (
          <i
            key={point.at}
            class={point.outcome === 'failed' ? 'bad' : ''}
            title={`${exactTime(point.at)}: ${format(value(point))}, ${point.outcome}`}
            style={{ height: `${Math.max(3, (value(point) / most) * 100)}%` }}
          />
        ))}
      </div>
      <div class="trend-ends quiet" aria-hidden="true" style={{ maxWidth: width }}>
        <span>{dayTime(trend[0].at)}</span>
        <span>{dayTime(trend.at(-1)!.at)}</span>
      </div>
      <div class="visually-hidden">
        <table>
          <caption>{name}</caption>
          <tbody>
            {trend.map((point) => (
              <tr key={point.at}>
                <th scope="row">{exactTime(point.at)}</th>
                <td>{format(value(point))}</td>
                <td>{point.outcome}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  )
}
