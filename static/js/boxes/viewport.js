/**
 * What part of the image the stage shows: screen pixels to image pixels and back. Pure but for what it is told.
 *
 * view: {x, y} the image pixel at the stage's top left corner, k screen pixels for one image pixel.
 */

const FIT_MARGIN = 0.98
const MAX_SCALE = 40

/** @param {{width: number, height: number}} image @param {() => {width: number, height: number}} stageSize */
export function createViewport(image, stageSize) {
  let view = fitted()
  let isFitted = true

  function fitted() {
    const { width, height } = stageSize()
    const k = Math.min(width / image.width, height / image.height) * FIT_MARGIN || 1
    return { k, x: image.width / 2 - width / k / 2, y: image.height / 2 - height / k / 2 }
  }

  /** Keep some of the image in sight. */
  function bounded({ k, x, y }) {
    const { width, height } = stageSize()
    const [w, h] = [width / k, height / k]
    const inside = (start, shown, size) => Math.min(Math.max(start, -shown * 0.75), size - shown * 0.25)
    return { k, x: inside(x, w, image.width), y: inside(y, h, image.height) }
  }

  return {
    scale: () => view.k,
    fit() {
      view = fitted()
      isFitted = true
    },
    /** The stage has another size: what was fitted stays fitted. */
    resized() {
      view = isFitted ? fitted() : bounded(view)
    },
    /** Zoom; the image pixel under the point (screen pixels from the stage's corner) stays there. */
    zoomAt(factor, at) {
      const lowest = fitted().k / 4
      const k = Math.min(Math.max(view.k * factor, lowest), Math.max(MAX_SCALE, fitted().k))
      view = bounded({ k, x: view.x + at.x / view.k - at.x / k, y: view.y + at.y / view.k - at.y / k })
      isFitted = false
    },
    /** Move the picture by screen pixels. */
    pan(dx, dy) {
      view = bounded({ ...view, x: view.x - dx / view.k, y: view.y - dy / view.k })
      isFitted = false
    },
    toImage: (at) => ({ x: view.x + at.x / view.k, y: view.y + at.y / view.k }),
    toScreen: ({ x, y }) => ({ x: (x - view.x) * view.k, y: (y - view.y) * view.k }),
    viewBox() {
      const { width, height } = stageSize()
      return [view.x, view.y, width / view.k, height / view.k].join(" ")
    },
    /** Tell of any number of boxes whether some of them shows; the stage is measured once. */
    sight() {
      const size = stageSize()
      const [left, top, right, bottom] = [view.x, view.y, view.x + size.width / view.k, view.y + size.height / view.k]
      return ([x, y, width, height]) => x < right && x + width > left && y < bottom && y + height > top
    },
  }
}
