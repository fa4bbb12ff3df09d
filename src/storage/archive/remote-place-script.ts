/** The scripts that read an archive on the other side of ssh in any order, and look after archives there. See remote-script.ts. */

import { READ_WORDS } from './remote-script.ts'
import { MOST_LIST_BYTES } from './volumes/list.ts'

/**
 * Says size and inode of the file, then gives ranges of it: each line of standard input has an offset and a length. The file is opened
 * once, so that all ranges are of the same one even if its name is given to another. tail(1) seeks in a file.
 */
const RANGES = [
  ...READ_WORDS,
  'if [ -f "$f" ]; then :; elif [ -e "$f" ]; then fail inorder; fi;',
  'exec 7<"$f";',
  '[ "$(printf abc | tail -c +2 | head -c 1)" = b ] || fail inorder;',
  'r=/dev/fd/7; [ -r $r ] || r=$f;',
  'set -- $(ls -lniL "$f"); say ready "$6" "$1";',
  'while IFS=" " read -r o l; do say data; tail -c +$((o + 1)) "$r" | head -c "$l"; done',
]

/** Says for each file how large it is, when it was written (seconds since the epoch) and its name. */
const ENTRIES = 'entries() { LC_ALL=C stat -L -c "$n entry %f %s %Y %n" "$@" 2>/dev/null; };'

const LIST = [
  ...READ_WORDS,
  ENTRIES,
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'd=${f%/*}/; if [ -d "$d" ]; then :; else fail nofolder; fi;',
  'if entries "$d" >/dev/null; then :; else fail nostat; fi;',
  'set +f; entries "$d"*;',
]

/** The same for the folders there, one command for each: the names of all of them may be too long for one. */
const LIST_FOLDERS = [...LIST, 'for g in "$d"*/; do entries "$g"*; done;']

/** Says the list of the volumes of an archive, line by line, and how large each volume is. Nothing else of the folder is looked at. */
const VOLUMES = [
  ...READ_WORDS,
  'name; b=$word; l=$b.volumes;',
  'if [ -f "$l" ]; then [ -r "$l" ] || fail nolist; say list;',
  `head -c ${MOST_LIST_BYTES} <"$l" | while IFS= read -r w || [ -n "$w" ]; do say line "$w"; done; fi;`,
  'set +f; for v in "$b".[0-9][0-9][0-9]; do if [ -f "$v" ]; then',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'set -- $(ls -lnL "$v") && say volume "${v##*.}" "$5"; fi; done;',
  'say done',
]

const STAT = [
  ...READ_WORDS,
  ENTRIES,
  'if [ -e "$f" ] || [ -h "$f" ]; then :; else say done; exit 0; fi;',
  'if entries "$f"; then say done; else fail nostat; fi',
]

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
const SYNC = 'd=${f%/*}/; sync "$d" 2>/dev/null || sync;'

/** A new folder may be used by those who may use the one that it is in, as far as the umask of the account there allows. */
const MAKE_FOLDER = [
  'LC_ALL=C; export LC_ALL; u=$(umask);',
  ...READ_WORDS,
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'umask $u; d=${f%/*}/; if mkdir -p "$d" && [ -d "$d" ]; then :; else fail makefolder; fi;',
  SYNC,
  'say done',
]

const REMOVE = [...READ_WORDS, 'rm -f "$f" || fail remove;', SYNC, 'say done']

/** The new name is given first and the old one removed after that, so that the file never is without a name. */
const RENAME = [
  ...READ_WORDS,
  'name; g=$word;',
  'if [ -e "$g" ] || [ -h "$g" ]; then fail exists; fi;',
  'if ln "$f" "$g" 2>/dev/null; then rm -f "$f"; else mv -n "$f" "$g" || fail publish; [ -e "$f" ] && fail exists; fi;',
  SYNC,
  'say done',
]

const command = (words: readonly string[]) => `exec sh -c '${words.join(' ')}'`

export const rangesCommand = command(RANGES)
export const listCommand = command([...LIST, 'say done'])
export const listFoldersCommand = command([...LIST_FOLDERS, 'say done'])
export const volumesCommand = command(VOLUMES)
export const statCommand = command(STAT)
export const makeFolderCommand = command(MAKE_FOLDER)
export const removeCommand = command(REMOVE)
export const renameCommand = command(RENAME)
