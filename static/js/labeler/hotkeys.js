/**
 * Which key does what (LOOK 5). Pure: from a keyboard event to the name of an action.
 *
 * Letters are matched by event.key, so that they follow the layout; digits also by their place, for layouts that have
 * them behind Shift.
 *
 * @typedef {"grid" | "one" | "boxes"} Task
 * @typedef {{name: string, digit?: number, direction?: string, extend?: boolean}} Action
 */

const EVERYWHERE = {
  s: "skip", p: "previous", z: "undo", y: "redo", g: "instructions", "?": "keys", "/": "find",
}
const ZOOM = { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", "−": "zoom-out", 0: "zoom-fit" }
const OF_TASK = {
  grid: { ...ZOOM, a: "all", f: "closer" },
  one: ZOOM,
  boxes: {},
}
const NAMED = { Enter: "submit", Escape: "escape" }
const NAMED_GRID = { ...NAMED, " ": "pick", Delete: "clear", Backspace: "clear", Home: "first", End: "last" }
const OF_TASK_NAMED = { grid: NAMED_GRID, one: { ...NAMED, Delete: "clear", Backspace: "clear" }, boxes: NAMED }
const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" }

/** The character that was meant: with Alt some systems type another one, then the key's place decides. */
function character(event) {
  if (!event.shiftKey && /^Digit[1-9]$/.test(event.code)) return event.code.slice(5)
  if (event.altKey && /^Key[A-Z]$/.test(event.code) && !/^[a-z]$/i.test(event.key)) return event.code.slice(3).toLowerCase()
  return event.key.length === 1 ? event.key.toLowerCase() : ""
}

/**
 * @param {KeyboardEvent} event
 * @param {{task: Task, hasLetters?: boolean, isInStage?: boolean}} options hasLetters: single-letter keys are on; when
 *   off, letters need Alt, and digits and signs need Alt or the focus in the stage (WCAG 2.1.4)
 * @returns {Action | null}
 */
export function actionOf(event, { task, hasLetters = true, isInStage = true }) {
  if (event.isComposing) return null
  if (event.ctrlKey || event.metaKey) return withControl(event)
  if (OF_TASK_NAMED[task][event.key]) return event.altKey ? null : { name: OF_TASK_NAMED[task][event.key] }
  if (task === "grid" && ARROWS[event.key] && !event.altKey) {
    return { name: "go", direction: ARROWS[event.key], extend: event.shiftKey }
  }
  const typed = character(event)
  if (!typed || typed === " ") return null
  const isLetter = /\p{L}/u.test(typed)
  if (!hasLetters && !event.altKey && (isLetter || !isInStage)) return null
  if (/^[1-9]$/.test(typed)) return { name: "class", digit: Number(typed) }
  if (typed === "z" && event.shiftKey) return { name: "redo" }
  const name = EVERYWHERE[typed] ?? OF_TASK[task][typed]
  return name ? { name } : null
}

function withControl(event) {
  if (event.altKey) return null // AltGr types a character
  const key = event.key.toLowerCase()
  if (key === "z") return { name: event.shiftKey ? "redo" : "undo" }
  return key === "y" ? { name: "redo" } : null
}
