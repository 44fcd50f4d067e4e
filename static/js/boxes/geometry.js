/**
 * Boxes and points in pixels of the image as displayed. Pure.
 *
 * @typedef {[number, number, number, number]} Box x, y, width, height; origin top left
 * @typedef {{x: number, y: number}} Point
 * @typedef {{width: number, height: number}} Size
 */

/** Under this many pixels a box is not made. */
export const MIN_SIZE = 3

const clamp = (value, low, high) => Math.min(Math.max(value, low), high)

/** The box between two corners, cut at the image's edge. */
export function fromCorners(a, b, image) {
  const [ax, bx] = [clamp(a.x, 0, image.width), clamp(b.x, 0, image.width)]
  const [ay, by] = [clamp(a.y, 0, image.height), clamp(b.y, 0, image.height)]
  return [Math.min(ax, bx), Math.min(ay, by), Math.abs(ax - bx), Math.abs(ay - by)]
}

export const isTooSmall = ([, , width, height]) => width < MIN_SIZE || height < MIN_SIZE

/** The box moved by some pixels, as far as the image goes. */
export function moved([x, y, width, height], dx, dy, image) {
  return [clamp(x + dx, 0, image.width - width), clamp(y + dy, 0, image.height - height), width, height]
}

/** The box with one edge or corner ("n", "se", ..) at the point; edges can cross, and the box stays large enough. */
export function resized([x, y, width, height], handle, point, image) {
  const across = span(x, x + width, handle.includes("w"), handle.includes("e"), point.x, image.width)
  const down = span(y, y + height, handle.includes("n"), handle.includes("s"), point.y, image.height)
  return [across.start, down.start, across.length, down.length]
}

function span(start, end, isStart, isEnd, to, size) {
  if (!isStart && !isEnd) return { start, length: end - start }
  const fixed = isStart ? end : start
  let free = clamp(to, 0, size)
  if (Math.abs(free - fixed) < MIN_SIZE) free = free < fixed || fixed + MIN_SIZE > size ? fixed - MIN_SIZE : fixed + MIN_SIZE
  return { start: Math.min(fixed, free), length: Math.abs(fixed - free) }
}

/** A box of this size with its middle at the point, moved inside the image. */
export function centred(point, [width, height], image) {
  const [w, h] = [Math.min(width, image.width), Math.min(height, image.height)]
  return moved([point.x - w / 2, point.y - h / 2, w, h], 0, 0, image)
}

/** The smallest of the boxes at the point, or null; `slack` pixels beside an edge count, so that thin boxes can be hit. */
export function smallestAt(boxes, { x, y }, slack = 0) {
  let found = null
  for (const candidate of boxes) {
    const [left, top, width, height] = candidate.box
    const isInside = x >= left - slack && x <= left + width + slack && y >= top - slack && y <= top + height + slack
    if (isInside && (!found || width * height < found.box[2] * found.box[3])) found = candidate
  }
  return found
}

export const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"]

/** Where a handle of the box is. */
export function handlePoint([x, y, width, height], handle) {
  return {
    x: handle.includes("w") ? x : handle.includes("e") ? x + width : x + width / 2,
    y: handle.includes("n") ? y : handle.includes("s") ? y + height : y + height / 2,
  }
}

/** Past and future of something that is never changed in place. */
export function createHistory(start) {
  let now = start
  const past = []
  let future = []
  return {
    now: () => now,
    set(next) {
      past.push(now)
      future = []
      now = next
    },
    undo() {
      if (!past.length) return false
      future.push(now)
      now = past.pop()
      return true
    },
    redo() {
      if (!future.length) return false
      past.push(now)
      now = future.pop()
      return true
    },
  }
}
