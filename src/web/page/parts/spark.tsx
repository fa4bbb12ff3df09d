/** A trend as small bars, with the same in words for those who do not see it. */

interface SparkProps {
  values: (number | null)[]
  /** What it is, such as "Size". */
  name: string
  format: (value: number) => string
  /** Marks values that are not good. */
  bad?: boolean[]
}

const WIDTH = 5
const HEIGHT = 20

export function Spark({ values, name, format, bad = [] }: SparkProps) {
  const known = values.filter((value) => value !== null)
  if (known.length < 2) return null
  const most = Math.max(...known)
  const words = `${name} of the last ${known.length}: from ${format(known[0])} to ${format(known.at(-1)!)}, at most ${format(most)}`
  return (
    <svg
      class="spark"
      width={values.length * WIDTH}
      height={HEIGHT}
      viewBox={`0 0 ${values.length * WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={words}
    >
      <title>{words}</title>
      {values.map((value, index) => {
        const height = value === null || most === 0 ? 1 : Math.max(1.5, (value / most) * HEIGHT)
        return (
          <rect
            key={index}
            class={bad[index] ? 'bad' : index === values.length - 1 ? 'last' : ''}
            x={index * WIDTH}
            y={HEIGHT - height}
            width={WIDTH - 1.5}
            height={height}
            rx={1}
          />
        )
      })}
    </svg>
  )
}
