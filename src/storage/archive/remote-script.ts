/**
 * What runs on the other side of ssh: POSIX sh with cat, wc, tail, dd, sync, ln, mv, rm and ls, as busybox has them too.
 *
 * Which shell reads the command line there is anybody's guess, so the line is the same for every archive and nothing in
 * it means anything to sh, csh or fish: it holds no single quote, `!`, backslash or newline. Names come on standard
 * input instead, a line each, with %b escapes for whatever is not plain. The script answers in lines that begin with
 * the nonce it was given; any others are what startup files of the shell print.
 */

/** Characters of a nonce. It also ends the archive on its way: see WRITE. */
export const NONCE_LENGTH = 32

const READ_WORDS = [
  'LC_ALL=C; export LC_ALL; umask 077; set -f;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'name() { IFS= read -r word; word=$(printf %b. "$word"); word=${word%.}; };',
  'say() { echo "$n $*"; };',
  'fail() { say "$@"; exit 3; };',
  'name; n=$word; name; f=$word;',
  'if [ -d "$f" ]; then fail folder; fi;',
]

/**
 * Takes the archive to a temporary name, and gives it its own only when the nonce has come last: a connection that was
 * cut, or a sender that was killed, looks like the end of the archive from here.
 */
const WRITE = [
  ...READ_WORDS,
  'name; t=$word; name; left=$word; name; force=$word;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  'd=${f%/*}/;',
  'there() { [ -e "$f" ] || [ -h "$f" ]; };',
  'if [ -d "$d" ]; then :; else fail nofolder; fi;',
  'if [ "$force" = 0 ] && there; then fail exists; fi;',
  'set +f; for l in "$left"*.partial; do if [ -e "$l" ]; then say left "$l"; fi; done; set -f;',
  '(set -C; : >"$t") || fail create;',
  // Nobody may be left to hear the answers: that must not keep it from cleaning up.
  'clean() { rm -f "$t"; }; trap clean EXIT; trap "exit 4" HUP INT TERM; trap "" PIPE;',
  'say ready;',
  'cat >"$t" || fail write;',
  `if [ "$(tail -c ${NONCE_LENGTH} "$t" | tr -d "[:cntrl:]")" = "$n" ]; then :; else fail cut; fi;`,
  `z=$(wc -c <"$t") && z=$((z - ${NONCE_LENGTH})) && dd if=/dev/null of="$t" bs=1 seek=$z 2>/dev/null || fail write;`,
  'if [ $(wc -c <"$t") -eq $z ]; then :; else fail write; fi;',
  'sync "$t" 2>/dev/null || sync || fail sync;',
  'if [ "$force" = 1 ]; then mv -f "$t" "$f" || fail publish;',
  'elif ln "$t" "$f" 2>/dev/null; then rm -f "$t";',
  'elif there; then fail exists;',
  'else mv "$t" "$f" || fail publish; fi;',
  'sync "$d" 2>/dev/null || sync;',
  'say done',
]

/** Tells the size of a regular file, then gives its bytes. */
const READ = [
  ...READ_WORDS,
  'if [ -f "$f" ]; then size=$(ls -lnL "$f") && set -- $size && say ready "$5"; else say ready; fi;',
  'exec cat <"$f"',
]

export const writeCommand = `exec sh -c '${WRITE.join(' ')}'`
export const readCommand = `exec sh -c '${READ.join(' ')}'`

/** A line of parameters, for `name` in the scripts. */
export function encodeWord(word: Uint8Array): string {
  let line = ''
  for (const byte of word) {
    const char = String.fromCharCode(byte)
    line += /[A-Za-z0-9._/-]/.test(char) ? char : `\\0${byte.toString(8).padStart(3, '0')}`
  }
  return `${line}\n`
}
