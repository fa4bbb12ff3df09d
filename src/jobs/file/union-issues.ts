/** Of a value that may have several forms, what is wrong with it in the form that was meant: the union itself says only that none fits. */

import * as z from 'zod'
import { type Path, valueAt } from '../../core/problems.ts'

type Issue = z.core.$ZodIssue

/** The errors of `value`, with those of the form that was meant in the place of each union. */
export function withoutUnions(error: z.ZodError, value: unknown): z.ZodError {
  return new z.ZodError(error.issues.flatMap((issue) => opened(issue, value)))
}

function opened(issue: Issue, root: unknown): Issue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const value = valueAt(root, issue.path as Path)
  const meant = issue.errors.filter((branch) => branch.every((inner) => !isOtherForm(inner, value)))
  if (meant.length !== 1) return [issue]
  return meant[0].flatMap((inner) => opened({ ...inner, path: [...issue.path, ...inner.path] } as Issue, root))
}

/** Whether another form was meant: the value is of another type, or lacks the key that makes the form. */
function isOtherForm({ code, path }: Issue, value: unknown): boolean {
  if (path.length === 0) return code === 'invalid_type'
  return path.length === 1 && valueAt(value, path as Path) === undefined
}
