/** How long the guest's writes take, as a live chart: when the backup began, and as a dashed line the mean before it. */

import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { LatencyView } from '../../../house.ts'
import { formatDuration, milliseconds } from '../../format.ts'
import { dark } from '../../state/theme.ts'

const HEIGHT = 132

export function Latency({ latency, guest }: { latency: LatencyView; guest: string }) {
  const { before, points } = latency
  const frame = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot | null>(null)
  const current = useRef(latency)
  current.current = latency
  const isDark = dark.value
  const any = points.length > 1
  useEffect(() => {
    if (!any) return
    const element = frame.current!
    const made = new uPlot(options(element, current), data(current.current), element)
    chart.current = made
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    return () => {
      resized.disconnect()
      made.destroy()
      chart.current = null
    }
  }, [isDark, any])
  useEffect(() => {
    chart.current?.setData(data(latency))
  }, [latency])
  const now = points.at(-1)?.[1] ?? null
  const worst = points.filter(([at]) => at >= 0).reduce((most, [, ms]) => Math.max(most, ms), 0)
  const words = [
    now !== null && `now ${milliseconds(now)}`,
    before !== null && `mean before ${milliseconds(before)} (dashed)`,
    any && `at most ${milliseconds(worst)}`,
  ].filter(Boolean)
  return (
    <section class="latency" aria-label={`Write latency of ${guest}`}>
      <div class="part-head">
        <h3>Guest’s write latency</h3>
        <span class="quiet">{words.join(' · ')}</span>
      </div>
      {any ? (
        <div
          class="chart"
          ref={frame}
          role="img"
          aria-label={`Write latency of ${guest} in milliseconds: ${words.join(', ')}`}
        />
      ) : (
        <p class="quiet">The first figures come in a few seconds.</p>
      )}
    </section>
  )
}

function data({ points }: LatencyView): uPlot.AlignedData {
  return [points.map(([at]) => at), points.map(([, ms]) => ms)]
}

function options(element: HTMLElement, current: { current: LatencyView }): uPlot.Options {
  const style = getComputedStyle(element)
  const colour = (name: string) => {
    // Canvas knows no light-dark(): the browser resolves it as a colour of an element.
    element.style.color = `var(${name})`
    const value = style.color
    element.style.color = ''
    return value
  }
  const names = ['--accent', '--accent-wash', '--line', '--text-2', '--text-3']
  const [line, fill, grid, text, mark] = names.map(colour)
  const font = '11px system-ui, sans-serif'
  const axis = { stroke: text, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } }
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [14, 22, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: {
      // The start of the backup is always in it.
      x: { time: false, range: (_, first, last) => [Math.min(first, last * -0.03), last] },
      y: { range: (_, __, most) => [0, Math.max(most, current.current.before ?? 0, 0.1) * 1.15] },
    },
    series: [{}, { stroke: line, fill, width: 1.5, points: { show: false } }],
    axes: [
      { ...axis, size: 24, space: 80, grid: { show: false }, values: (_, at) => at.map((each) => seconds(each)) },
      { ...axis, size: 56, space: 28, values: (_, ms) => ms.map((each) => `${each} ms`) },
    ],
    hooks: {
      draw: [
        (chart) => {
          const { ctx, bbox } = chart
          const ratio = devicePixelRatio
          ctx.save()
          ctx.font = `${11 * ratio}px system-ui, sans-serif`
          ctx.fillStyle = text
          ctx.strokeStyle = mark
          ctx.lineWidth = ratio
          const start = chart.valToPos(0, 'x', true)
          if (start >= bbox.left && start <= bbox.left + bbox.width) {
            strokeLine(ctx, start, bbox.top, start, bbox.top + bbox.height, [])
            const isLeft = start < bbox.left + bbox.width * 0.7
            ctx.textAlign = isLeft ? 'left' : 'right'
            ctx.fillText('backup began', start + (isLeft ? 4 : -4) * ratio, bbox.top - 3 * ratio)
          }
          const { before } = current.current
          if (before !== null) {
            const y = chart.valToPos(before, 'y', true)
            strokeLine(ctx, bbox.left, y, bbox.left + bbox.width, y, [4 * ratio, 4 * ratio])
          }
          ctx.restore()
        },
      ],
    },
  }
}

function strokeLine(ctx: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number, dash: number[]) {
  ctx.beginPath()
  ctx.setLineDash(dash)
  ctx.moveTo(x1, y1)
  ctx.lineTo(x2, y2)
  ctx.stroke()
}

const seconds = (at: number) =>
  at === 0 ? '0' : `${at < 0 ? '−' : ''}${formatDuration(Math.abs(at)).replace(/\.0s$/, 's')}`
