/** Light, dark, or as the system has it. Kept in this browser. */

import { effect, signal } from '@preact/signals'

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'vmapipe-theme'

function kept(): Theme {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

export const theme = signal<Theme>(kept())

const systemDark = matchMedia('(prefers-color-scheme: dark)')
/** What the page looks like now; charts are drawn with it. */
export const dark = signal(false)

effect(() => {
  dark.value = theme.value === 'dark' || (theme.value === 'system' && systemDark.matches)
  document.documentElement.dataset.theme = dark.value ? 'dark' : 'light'
  try {
    if (theme.value === 'system') localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, theme.value)
  } catch {
    // A browser that keeps nothing: the theme holds until the page is closed.
  }
})

systemDark.addEventListener('change', () => {
  if (theme.peek() === 'system') dark.value = systemDark.matches
  document.documentElement.dataset.theme = dark.peek() ? 'dark' : 'light'
})
