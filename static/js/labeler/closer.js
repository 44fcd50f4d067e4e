/**
 * Looking closer: zoom at the pointer, pan, pinch, fit; in the tile of a single image, or over the sheet.
 */

const MOST = 16 // times the fitted size
const STEP = 1.5
const PAN_STEP = 60 // pixels per arrow key

/** The move and scale that keep the point `at` where it is, bounded so that the picture stays in sight. Pure. */
export function zoomedAt({ scale, x, y }, factor, at, size) {
  const next = Math.min(MOST, Math.max(1, scale * factor))
  const real = next / scale
  return bounded({ scale: next, x: at.x - (at.x - x) * real, y: at.y - (at.y - y) * real }, size)
}

/** Pure: with the origin at the top left, the scaled picture covers its frame. */
export function bounded({ scale, x, y }, { width, height }) {
  const within = (value, length) => Math.min(0, Math.max(length * (1 - scale), value))
  return { scale, x: within(x, width), y: within(y, height) }
}

/**
 * @param {HTMLElement} frame what the picture is shown in
 * @param {HTMLImageElement} image fills the frame when it fits
 * @param {string} fullUrl the picture in full resolution, fetched once somebody zooms in
 */
export function createZoom(frame, image, fullUrl) {
  let view = { scale: 1, x: 0, y: 0 }
  let isFull = false
  const fingers = new Map()
  const controller = new AbortController()
  const options = { signal: controller.signal }
  const size = () => ({ width: frame.clientWidth, height: frame.clientHeight })
  const middle = () => ({ x: frame.clientWidth / 2, y: frame.clientHeight / 2 })
  const inFrame = (event) => {
    const { left, top } = frame.getBoundingClientRect()
    return { x: event.clientX - left, y: event.clientY - top }
  }

  function put(next) {
    view = next
    image.style.transformOrigin = "0 0"
    image.style.transform = view.scale === 1 ? "" : `translate(${view.x}px, ${view.y}px) scale(${view.scale})`
    frame.classList.toggle("is-zoomed", view.scale > 1)
    if (view.scale > 1 && !isFull) sharpen()
  }

  async function sharpen() {
    isFull = true
    const full = new Image()
    full.src = fullUrl
    try {
      await full.decode()
      if (image.isConnected) image.src = full.src
    } catch {
      isFull = false // the smaller picture stays
    }
  }

  const pan = (dx, dy) => put(bounded({ ...view, x: view.x + dx, y: view.y + dy }, size()))

  frame.addEventListener("wheel", (event) => {
    event.preventDefault()
    put(zoomedAt(view, event.deltaY < 0 ? STEP : 1 / STEP, inFrame(event), size()))
  }, { ...options, passive: false })
  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".tools-tr")) return
    fingers.set(event.pointerId, inFrame(event))
    frame.setPointerCapture(event.pointerId)
  }, options)
  frame.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId)
    if (!before) return
    const after = inFrame(event)
    fingers.set(event.pointerId, after)
    if (fingers.size === 1) return pan(after.x - before.x, after.y - before.y)
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1]
    const spread = (finger) => Math.hypot(finger.x - other.x, finger.y - other.y) || 1
    put(zoomedAt(view, spread(after) / spread(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 }, size()))
  }, options)
  const lift = (event) => fingers.delete(event.pointerId)
  frame.addEventListener("pointerup", lift, options)
  frame.addEventListener("pointercancel", lift, options)

  return {
    isZoomed: () => view.scale > 1,
    act({ name, direction }) {
      if (name === "zoom-in") put(zoomedAt(view, STEP, middle(), size()))
      else if (name === "zoom-out") put(zoomedAt(view, 1 / STEP, middle(), size()))
      else if (name === "zoom-fit") put({ scale: 1, x: 0, y: 0 })
      else if (direction) {
        pan({ left: PAN_STEP, right: -PAN_STEP }[direction] ?? 0, { up: PAN_STEP, down: -PAN_STEP }[direction] ?? 0)
      }
    },
    destroy: () => controller.abort(),
  }
}

/**
 * Show one image over the sheet; rail, dock and keys go on working on it.
 *
 * @param {HTMLElement} stage
 * @param {{large_url: string, full_url: string}} picture
 * @param {{tile: HTMLElement, onClose: () => void, onBeside: (step: number) => void}} options
 */
export function openCloser(stage, picture, { tile, onClose, onBeside }) {
  const sheet = stage.querySelector(".sheet")
  const overlay = document.getElementById("closer").content.firstElementChild.cloneNode(true)
  const image = overlay.querySelector("img")
  image.src = tile.querySelector("img").src
  const large = new Image()
  large.src = picture.large_url
  large.decode().then(() => { if (!zoom.isZoomed()) image.src = large.src }, () => {})
  sheet.inert = true
  stage.append(overlay)
  const zoom = createZoom(overlay, image, picture.full_url)

  function destroy() {
    if (!overlay.isConnected) return
    zoom.destroy()
    overlay.remove()
    sheet.inert = false
    onClose()
  }
  overlay.addEventListener("dblclick", (event) => { if (!event.target.closest(".tools-tr")) destroy() })
  overlay.addEventListener("click", (event) => {
    const button = event.target.closest("button")
    if (button?.dataset.look === "back") destroy()
    else if (button) zoom.act({ name: button.dataset.look })
  })
  overlay.focus()
  return {
    destroy,
    focus: () => overlay.focus(),
    repaint() {
      overlay.querySelector(".labels").replaceChildren(...tile.querySelector(".labels").cloneNode(true).childNodes)
      overlay.setAttribute("aria-label", tile.getAttribute("aria-label"))
    },
    act(action) {
      if (action.name !== "go" || zoom.isZoomed()) zoom.act(action)
      else onBeside({ left: -1, up: -1 }[action.direction] ?? 1)
    },
  }
}
