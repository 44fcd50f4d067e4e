/**
 * The box editor: draw, move, resize and name boxes by mouse, touch or keys (SPEC L4, LOOK 5 and 6).
 *
 * Image pixels are its units. It tells of every change by `onChange(answer)`; the shell around it keeps drafts and submits.
 */

import { colour, createCanvas } from "boxes/canvas"
import { HANDLES, centred, createHistory, fromCorners, handlePoint, isTooSmall, moved, resized, smallestAt } from "boxes/geometry"
import { createViewport } from "boxes/viewport"

const DRAG_FROM = 4 // screen pixels; less is a click
const GRIP = { mouse: 12, pen: 16, touch: 22 } // screen pixels around a grip that count as the grip
const ZOOM_STEP = 1.25
const HELD_AFTER = 350 // milliseconds; H held longer than this shows the boxes again when let go
const LETTERS = {
  r: "draw", m: "move", t: "template", l: "lock", h: "hide", c: "copy", x: "cross", b: "light", n: "none",
  ",": "before", ".": "after", "+": "in", "=": "in", "-": "out", "−": "out", 0: "fit",
}
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }

export function mount(stage, context) {
  const { item, classes, imageUrl, fullUrl, lastBoxes, draft, onChange, setCurrentClass, announce, hotkeysEnabled } = context
  const image = item.image
  const page = stage.closest("#page") ?? document
  const tools = new Map([...page.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]))
  const list = page.querySelector("[data-box-list]")
  const counter = page.querySelector("[data-box-count]")
  const level = page.querySelector("[data-zoom-level]")
  const noneButton = page.querySelector("[data-no-objects]")
  const nameOf = new Map(classes.map((label) => [label.id, label.name]))
  const labelOf = new Map(classes.map((label) => [label.id, label]))
  const controller = new AbortController()
  const listen = (target, type, handler, more = {}) => target.addEventListener(type, handler, { signal: controller.signal, ...more })
  const size = () => ({ width: stage.clientWidth, height: stage.clientHeight })
  const viewport = createViewport(image, size)
  const canvas = createCanvas(stage, { image, classes, url: imageUrl, viewport })

  let nextId = 1
  const entry = (box, label_class, hint) => ({ id: nextId++, box, label_class, isHint: hint !== undefined, hint: hint ?? null })
  const history = createHistory(start())
  let tool = history.now().boxes.length ? "move" : "draw"
  let current = classes[0]?.id ?? null
  let selected = null
  let hovered = null
  let locked = new Set()
  let isHidden = false
  let hasCross = false
  let isSharp = false
  let press = null // what the pointer does now
  let corner = null // the first corner, set by a click or by Enter
  let keyed = null // where the cross-hair of keyboard drawing is
  let mouse = null // screen pixels from the stage's corner
  let hidSince = 0
  let isPanKey = false
  const fingers = new Map()
  let frame = 0

  function start() {
    const given = draft ?? item.answer
    if (given?.boxes) {
      const boxes = given.boxes.filter((box) => nameOf.has(box.label_class)).map((box) => entry(box.box, box.label_class, box.hint))
      return { boxes, isNone: !given.boxes.length }
    }
    const boxes = item.prelabels.filter((hint) => hint.box && nameOf.has(hint.label_class))
    return { boxes: boxes.map((hint) => entry(hint.box, hint.label_class, hint.confidence)), isNone: false }
  }

  const boxes = () => history.now().boxes
  const find = (id) => boxes().find((box) => box.id === id) ?? null
  const active = () => find(selected)
  const free = () => (isHidden ? [] : boxes().filter((box) => !locked.has(box.id)))
  const own = ({ id, box, label_class }) => ({ id, box, label_class, isHint: false, hint: null })

  /* ---- change ---- */

  function set(next, { isNone = false, select = selected } = {}) {
    history.set({ boxes: next, isNone })
    selected = next.some((box) => box.id === select) ? select : null
    changed()
  }

  function changed() {
    paint()
    onChange(stored())
  }

  const replace = (changedBox) => set(boxes().map((box) => (box.id === changedBox.id ? own(changedBox) : box)))

  function add(box, label_class = current) {
    if (label_class === null || isTooSmall(box)) return
    const made = { ...entry(box, label_class), isHint: false }
    set([...boxes(), made], { select: made.id })
    announce(describe(made))
  }

  function remove(id) {
    const index = boxes().findIndex((box) => box.id === id)
    if (index < 0 || locked.has(id)) return
    const next = boxes().filter((box) => box.id !== id)
    set(next, { select: next[Math.min(index, next.length - 1)]?.id ?? null })
  }

  const removeAll = () => boxes().length && set(boxes().filter((box) => locked.has(box.id)), { select: null })

  function select(id) {
    selected = id
    if (id !== null) current = find(id).label_class
    paint()
  }

  function stored() {
    const { boxes: all, isNone } = history.now()
    if (!all.length) return isNone ? { boxes: [] } : null
    return { boxes: all.map(({ box, label_class, isHint, hint }) => ({ label_class, box, ...(isHint ? { hint } : {}) })) }
  }

  /* ---- paint ---- */

  const describe = ({ box, label_class }) => `${nameOf.get(label_class)}, ${Math.round(box[2])} × ${Math.round(box[3])}`

  function paint() {
    canvas.paint(boxes(), selected)
    setCurrentClass(current)
    paintList()
    const { isNone } = history.now()
    noneButton?.setAttribute("aria-pressed", String(isNone))
    if (noneButton) noneButton.disabled = boxes().length > 0
    if (counter) counter.textContent = boxes().length
    paintTools()
    look()
  }

  function paintTools() {
    const on = { draw: tool === "draw", move: tool === "move", template: tool === "template", lock: locked.size > 0, hide: isHidden, cross: hasCross }
    for (const [name, isOn] of Object.entries(on)) tools.get(name)?.setAttribute("aria-pressed", String(isOn))
    stage.classList.toggle("is-moving", tool === "move")
    stage.classList.toggle("is-panning", isPanKey || press?.kind === "pan")
  }

  /** Draw the view once in the next frame. */
  function look() {
    if (!frame) frame = requestAnimationFrame(paintView)
  }

  function paintView() {
    frame = 0
    canvas.paintView()
    canvas.cull(boxes())
    const dragged = press?.box && press.id ? boxes().map((box) => (box.id === press.id ? { ...box, box: press.box } : box)) : boxes()
    canvas.paintOverlay(dragged, { selected, hovered, isHidden })
    const at = keyed ? viewport.toScreen(keyed) : mouse
    canvas.paintCross(keyed || hasCross ? at : null, size())
    if (level) level.textContent = `${Math.round(viewport.scale() * 100)}%`
    const shown = Math.max(image.width, image.height) * viewport.scale() * devicePixelRatio
    if (!isSharp && shown > 2048 * 1.1 && Math.max(image.width, image.height) > 2048) sharpen()
  }

  /** The original's pixels are read only when zoom asks for them. */
  async function sharpen() {
    isSharp = true
    const large = new Image()
    large.src = fullUrl
    try {
      await large.decode()
      if (!controller.signal.aborted) canvas.setPicture(fullUrl)
    } catch {
      // The preview stays.
    }
  }

  const rows = new Map()

  function paintList() {
    if (!list) return
    const present = new Set(boxes().map((box) => box.id))
    for (const [id, row] of rows) {
      if (present.has(id)) continue
      row.remove()
      rows.delete(id)
    }
    for (const box of boxes()) {
      const row = rows.get(box.id) ?? makeRow(box.id)
      if (row.entry !== box) {
        row.entry = box
        colour(row.children[0], labelOf.get(box.label_class))
        row.children[1].textContent = nameOf.get(box.label_class)
        row.children[1].title = nameOf.get(box.label_class)
        const hint = box.isHint && box.hint !== null ? `${Math.round(box.hint * 100)}% · ` : ""
        row.children[2].textContent = `${hint}${Math.round(box.box[2])} × ${Math.round(box.box[3])}`
      }
      const isOn = box.id === selected
      if (isOn && !row.classList.contains("is-on")) row.scrollIntoView({ block: "nearest" })
      row.classList.toggle("is-on", isOn)
      row.children[1].setAttribute("aria-pressed", String(isOn))
    }
  }

  function makeRow(id) {
    const row = document.createElement("li")
    const dot = document.createElement("span")
    dot.className = "dot"
    const name = Object.assign(document.createElement("button"), { type: "button", className: "bx-name clip" })
    const words = Object.assign(document.createElement("span"), { className: "muted num" })
    const bin = tools.get("delete")?.querySelector("svg")?.cloneNode(true)
    const gone = Object.assign(document.createElement("button"), { type: "button", className: "btn quiet square small" })
    gone.setAttribute("aria-label", tools.get("delete")?.getAttribute("aria-label") ?? "×")
    gone.append(bin ?? "×")
    row.append(dot, name, words, gone)
    row.addEventListener("click", (event) => {
      if (event.target.closest("button") === gone) return remove(id)
      if (tool !== "move") setTool("move")
      select(id)
    })
    rows.set(id, row)
    list.append(row)
    return row
  }

  /* ---- the pointer ---- */

  const place = (event) => {
    const { left, top } = stage.getBoundingClientRect()
    return { x: event.clientX - left, y: event.clientY - top }
  }

  function gripAt(at, kind) {
    const box = active()
    if (!box || isHidden || locked.has(box.id)) return null
    let best = null
    for (const handle of HANDLES) {
      const point = viewport.toScreen(handlePoint(box.box, handle))
      const distance = Math.hypot(point.x - at.x, point.y - at.y)
      if (distance <= (GRIP[kind] ?? 12) && (!best || distance < best.distance)) best = { handle, distance }
    }
    return best?.handle ?? null
  }

  function down(event) {
    if (event.target.closest(".zoombar, .lightbar")) return
    stage.focus({ preventScroll: true })
    stage.setPointerCapture(event.pointerId)
    fingers.set(event.pointerId, place(event))
    if (fingers.size === 2) return startPinch()
    if (fingers.size > 2) return
    const at = place(event)
    const point = viewport.toImage(at)
    keyed = null
    if (event.button === 1 || event.button === 2 || isPanKey) press = { kind: "pan", at }
    else if (corner) press = { kind: "second", at }
    else press = startOf(at, point, event.pointerType)
    if (press.id) selected = press.id
    paint()
  }

  function startOf(at, point, kind) {
    const handle = gripAt(at, kind)
    if (handle) return { kind: "resize", handle, id: selected, box: active().box, from: active().box, at }
    if (tool === "draw") return { kind: "draw", at, point }
    if (tool === "template") return { kind: "template", at, point }
    const hit = smallestAt(free(), point, 4 / viewport.scale())
    if (!hit) return { kind: "empty", at }
    current = hit.label_class
    return { kind: "move", id: hit.id, from: hit.box, box: hit.box, at, point }
  }

  function startPinch() {
    dropUnfinished()
    press = { kind: "pinch" }
  }

  function move(event) {
    const at = place(event)
    const before = fingers.get(event.pointerId)
    if (before) fingers.set(event.pointerId, at)
    mouse = at
    if (press?.kind === "pinch") return pinch(event.pointerId, before, at)
    const point = viewport.toImage(at)
    if (!press) return hover(at, point, event)
    const isDrag = press.isDrag || Math.hypot(at.x - press.at.x, at.y - press.at.y) > DRAG_FROM
    press.isDrag = isDrag
    if (press.kind === "pan" || (press.kind === "empty" && isDrag)) {
      const from = press.last ?? press.at
      viewport.pan(at.x - from.x, at.y - from.y)
      press.last = at
    } else if (press.kind === "draw" && isDrag) {
      canvas.paintDraft(fromCorners(press.point, point, image), labelOf.get(current))
    } else if (press.kind === "move" && isDrag) {
      press.box = moved(press.from, point.x - press.point.x, point.y - press.point.y, image)
      canvas.placeOne(press.id, press.box)
    } else if (press.kind === "resize" && isDrag) {
      press.box = resized(press.from, press.handle, point, image)
      canvas.placeOne(press.id, press.box)
    }
    look()
  }

  function hover(at, point, event) {
    if (keyed && !corner) keyed = null
    if (corner) canvas.paintDraft(fromCorners(corner, point, image), labelOf.get(current))
    const handle = gripAt(at, event.pointerType)
    stage.dataset.cursor = handle ?? (tool === "move" && smallestAt(free(), point, 4 / viewport.scale()) ? "box" : "")
    const id = smallestAt(free(), point, 4 / viewport.scale())?.id ?? null
    if (id !== hovered || hasCross || corner) {
      hovered = id
      look()
    }
  }

  function pinch(id, before, at) {
    const other = [...fingers].find(([key]) => key !== id)?.[1]
    if (!other || !before) return
    const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y)
    viewport.pan((at.x - before.x) / 2, (at.y - before.y) / 2)
    const middle = { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 }
    viewport.zoomAt(distance(at, other) / Math.max(distance(before, other), 1), middle)
    look()
  }

  function up(event) {
    fingers.delete(event.pointerId)
    if (!press) return
    if (press.kind === "pinch") {
      if (!fingers.size) press = null
      return
    }
    const done = press
    press = null
    const point = viewport.toImage(place(event))
    canvas.paintDraft(null)
    if (done.kind === "draw" && done.isDrag) add(fromCorners(done.point, point, image))
    else if (done.kind === "draw") corner = done.point
    else if (done.kind === "second") {
      const first = corner
      corner = null
      add(fromCorners(first, point, image))
    } else if (done.kind === "template") stamp(point)
    else if ((done.kind === "move" || done.kind === "resize") && done.isDrag) replace({ ...find(done.id), box: done.box })
    else if (done.kind === "empty" && !done.isDrag) selected = null
    paint()
  }

  function stamp(point) {
    const size = active() ?? boxes().at(-1)
    const sample = size?.box ?? lastBoxes.at(-1)?.box
    if (!sample) return announce(tools.get("template")?.title ?? "")
    add(centred(point, [sample[2], sample[3]], image))
  }

  /** Leave no stray box. Returns whether there was anything unfinished. */
  function dropUnfinished() {
    const had = Boolean(press?.box || press?.kind === "draw" || corner || keyed)
    if (press?.id && press.from && find(press.id)) canvas.placeOne(press.id, press.from)
    press = corner = keyed = null
    canvas.paintDraft(null)
    look()
    return had
  }

  /* ---- tools and keys ---- */

  function setTool(name) {
    dropUnfinished()
    tool = name
    if (name === "draw") selected = null
    paint()
  }

  const middle = () => ({ x: size().width / 2, y: size().height / 2 })
  const zoom = (factor) => {
    viewport.zoomAt(factor, mouse ?? middle())
    look()
  }

  const acts = {
    draw: () => setTool("draw"),
    move: () => setTool("move"),
    template: () => setTool("template"),
    lock() {
      locked = locked.size ? new Set() : new Set(boxes().map((box) => box.id))
      if (locked.has(selected)) selected = null
      paint()
    },
    hide() {
      isHidden = !isHidden
      canvas.hide(isHidden)
      paint()
    },
    copy() {
      const usable = lastBoxes.filter((box) => nameOf.has(box.label_class))
      const copies = usable.map(({ box: [x, y, width, height], label_class }) => {
        const cut = fromCorners({ x, y }, { x: x + width, y: y + height }, image)
        return { ...entry(cut, label_class), isHint: false }
      }).filter((copy) => !isTooSmall(copy.box))
      if (copies.length) set([...boxes(), ...copies], { select: copies.at(-1).id })
    },
    cross() {
      hasCross = !hasCross
      paint()
    },
    light: () => toggleLight(),
    none() {
      if (boxes().length) return
      history.set({ boxes: [], isNone: !history.now().isNone })
      changed()
    },
    before: () => step(-1),
    after: () => step(1),
    in: () => zoom(ZOOM_STEP),
    out: () => zoom(1 / ZOOM_STEP),
    fit() {
      viewport.fit()
      look()
    },
    undo: () => undo(),
    redo: () => redo(),
    delete: () => selected !== null && remove(selected),
  }

  function step(by) {
    const all = free()
    if (!all.length) return
    const index = all.findIndex((box) => box.id === selected)
    const next = all[(index + by + all.length + (index < 0 && by < 0 ? 1 : 0)) % all.length]
    select(next.id)
    announce(describe(next))
  }

  function undo() {
    if (dropUnfinished()) return true
    return history.undo() && afterHistory()
  }

  const redo = () => history.redo() && afterHistory()

  function afterHistory() {
    if (!active()) selected = null
    changed()
    return true
  }

  function arrow([dx, dy], event) {
    const box = active()
    const step = event.shiftKey ? 10 : 1
    if (box && !locked.has(box.id)) {
      const [x, y, width, height] = box.box
      const next = event.altKey
        ? resized(box.box, dx ? "e" : "s", { x: x + width + dx * step, y: y + height + dy * step }, image)
        : moved(box.box, dx * step, dy * step, image)
      return replace({ ...box, box: next })
    }
    if (tool !== "draw") {
      viewport.pan(-dx * 60, -dy * 60)
      return look()
    }
    const stride = event.altKey ? 1 : Math.max(1, Math.round((event.shiftKey ? 40 : 8) / viewport.scale()))
    const from = keyed ?? viewport.toImage(middle())
    const within = (value, most) => Math.min(Math.max(Math.round(value), 0), most)
    keyed = { x: within(from.x + dx * stride, image.width), y: within(from.y + dy * stride, image.height) }
    if (corner) canvas.paintDraft(fromCorners(corner, keyed, image), labelOf.get(current))
    look()
  }

  function enterCorner() {
    if (!corner) corner = keyed
    else {
      const box = fromCorners(corner, keyed, image)
      dropUnfinished()
      add(box)
    }
    look()
  }

  function escape() {
    if (dropUnfinished()) return true
    if (selected === null) return false
    selected = null
    paint()
    return true
  }

  function handleKey(event) {
    if (event.ctrlKey || event.metaKey) return false
    if (ARROWS[event.key]) return arrow(ARROWS[event.key], event) ?? true
    if (event.key === "Escape") return escape()
    if (event.key === "Enter" && keyed) return enterCorner() ?? true
    if (event.key === "Delete" || event.key === "Backspace") {
      if (event.shiftKey) removeAll()
      else acts.delete()
      return true
    }
    if (event.key === " ") {
      isPanKey = true
      paintTools()
      return true
    }
    const name = LETTERS[event.key.toLowerCase()]
    if (!name || (!hotkeysEnabled() && !event.altKey && /[a-z,.]/i.test(event.key))) return false
    if (name === "hide") {
      if (event.repeat) return true
      hidSince = performance.now()
    }
    acts[name]()
    return true
  }

  function keyUp(event) {
    if (event.key === " ") {
      isPanKey = false
      paintTools()
    }
    if (event.key.toLowerCase() === "h" && hidSince && performance.now() - hidSince > HELD_AFTER && isHidden) acts.hide()
    if (event.key.toLowerCase() === "h") hidSince = 0
  }

  /* ---- brightness and contrast ---- */

  let lightBar = null

  function toggleLight() {
    if (lightBar) {
      lightBar.remove()
      lightBar = null
      return stage.focus()
    }
    lightBar = document.createElement("div")
    lightBar.className = "lightbar"
    const inputs = ["☀", "◐"].map((sign, index) => {
      const label = document.createElement("label")
      const input = Object.assign(document.createElement("input"), { type: "range", min: 25, max: 300, value: light[index] })
      input.setAttribute("aria-label", (tools.get("light")?.title ?? "") + ` ${index + 1}`)
      input.addEventListener("input", () => {
        light[index] = Number(input.value)
        canvas.light(...light)
      })
      label.append(sign, input)
      lightBar.append(label)
      return input
    })
    lightBar.addEventListener("dblclick", () => {
      light = [100, 100]
      for (const input of inputs) input.value = 100
      canvas.light(...light)
    })
    stage.append(lightBar)
    inputs[0].focus()
  }

  let light = [100, 100]

  /* ---- joining ---- */

  listen(stage, "pointerdown", down)
  listen(stage, "pointermove", move)
  listen(stage, "pointerup", up)
  listen(stage, "pointercancel", (event) => {
    fingers.delete(event.pointerId)
    dropUnfinished()
    paint()
  })
  listen(stage, "pointerleave", () => {
    if (press) return
    mouse = hovered = null
    look()
  })
  listen(stage, "contextmenu", (event) => event.preventDefault())
  listen(stage, "wheel", (event) => {
    event.preventDefault()
    if (event.shiftKey) viewport.pan(-event.deltaY, 0)
    else viewport.zoomAt(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), place(event))
    look()
  }, { passive: false })
  listen(document, "keyup", keyUp)
  for (const [name, button] of tools) listen(button, "click", () => acts[name]?.())
  for (const button of stage.querySelectorAll("[data-zoom]")) {
    listen(button, "click", () => {
      mouse = null
      acts[button.dataset.zoom]()
    })
  }
  if (noneButton) listen(noneButton, "click", () => acts.none())
  const watcher = new ResizeObserver(() => {
    viewport.resized()
    look()
  })
  watcher.observe(stage)
  stage.tabIndex = 0
  paint()

  return {
    /** What the server stores: all boxes, suggestions confirmed; null while nothing was said. */
    answer() {
      const answer = stored()
      return answer && { boxes: answer.boxes.map(({ label_class, box }) => ({ label_class, box })) }
    },
    isComplete: () => stored() !== null,
    counts() {
      const counts = new Map(classes.map((label) => [label.id, 0]))
      for (const { label_class } of boxes()) counts.set(label_class, counts.get(label_class) + 1)
      return counts
    },
    setClass(id) {
      current = id
      const box = active()
      if (box && !locked.has(box.id)) replace({ ...box, label_class: id })
      else paint()
    },
    handleKey,
    undo,
    redo,
    destroy() {
      controller.abort()
      watcher.disconnect()
      cancelAnimationFrame(frame)
      canvas.destroy()
    },
  }
}
