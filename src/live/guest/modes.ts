/** What can be chosen of a backup of a QEMU's guest. */

/** How QEMU pushes old data to us: guarded, by backup jobs, or guarded if possible. */
export const MODES = ['auto', 'guarded', 'push'] as const

/** Whether the agent freezes the guest's filesystems: if it can, in any case, or never. */
export const FSFREEZE_MODES = ['auto', 'on', 'off'] as const
