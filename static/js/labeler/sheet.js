/**
 * The sheet of images: which are picked, which one a key acts on, and how their answers show. Imports nothing, so that
 * the pure parts run under node as they are.
 */

const DRAG_FROM = 6 // pixels; less is a click
const LONG_PRESS = 500 // milliseconds

/**
 * Which images are picked. Pure.
 *
 * After a class was applied the selection is spent: it still shows, and a second press of the key acts on it again; but
 * as soon as the labeler points at another image, keys act on that one, and the next pick starts afresh. So the odd one
 * of a page costs one key: no image has to be picked first.
 *
 * @param {number[]} ids in the order of the page
 */
export function createSelection(ids) {
  let picked = new Set()
  let anchor = ids[0]
  let isSpent = false
  let hasMoved = false // the focus went elsewhere since the selection was spent
  let isHovering = false // the pointer went over an image since then

  const inOrder = () => ids.filter((id) => picked.has(id))
  const isLive = () => picked.size > 0 && !(isSpent && (hasMoved || isHovering))
  function start() {
    if (isSpent) picked = new Set()
    isSpent = false
  }

  return {
    picked: inOrder,
    isPicked: (id) => picked.has(id),
    isSpent: () => isSpent,
    isLive,

    toggle(id) {
      start()
      if (!picked.delete(id)) picked.add(id)
      anchor = id
    },
    add(id) {
      start()
      picked.add(id)
      anchor = id
    },
    /** Everything between the last picked image and this one. */
    range(id) {
      start()
      const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b)
      for (const between of ids.slice(from, to + 1)) picked.add(between)
    },
    /** What the rectangle touches, and what was picked before it if it adds. */
    set(touched, before = []) {
      isSpent = false
      picked = new Set([...before, ...touched])
    },
    all() {
      const isAll = !isSpent && picked.size === ids.length
      isSpent = false
      picked = new Set(isAll ? [] : ids)
    },
    clear() {
      const had = picked.size > 0
      picked = new Set()
      isSpent = false
      return had
    },
    spend() {
      isSpent = true
      hasMoved = isHovering = false
    },
    /** The focus went to another image. */
    move() {
      hasMoved = true
    },
    /** The pointer moves over an image, or has left them. */
    hover(isOver) {
      isHovering = isOver
    },
    /** What a key acts on: the selection, else the one image that is pointed at. */
    targets: (pointed) => (isLive() ? inOrder() : [pointed]),
    /** What a press outside the sheet acts on: there the pointer says nothing about images. */
    targetsOfPress: (focused) => (picked.size && !(isSpent && hasMoved) ? inOrder() : [focused]),
  }
}

/** The image beside this one in a sheet of so many columns, or the same at the edge. Pure. */
export function beside(index, direction, columns, count) {
  const step = { left: -1, right: 1, up: -columns, down: columns }[direction]
  const next = index + step
  return next < 0 || next >= count ? index : next
}

/**
 * Show the answers on the sheet and turn presses into picks.
 *
 * @param {HTMLElement} root #page
 * @param {{answers: object, classes: object[], isMulti: boolean, isOne: boolean, say: Function, icon: Function,
 *   onPick: () => void, onChip: (id: number, label: number) => void, onCloser: (id: number) => void}} context
 */
export function mountSheet(root, { answers, classes, isMulti, isOne, say, icon, onPick, onChip, onCloser }) {
  const sheet = root.querySelector(".sheet")
  const tiles = [...sheet.querySelectorAll(".tile")]
  const ids = answers.ids
  const tileOf = new Map(tiles.map((tile) => [Number(tile.dataset.id), tile]))
  const classOf = new Map(classes.map((label) => [label.id, label]))
  const selection = createSelection(ids)
  const missing = new Set()
  let focused = ids[0]
  let isLiveShown = false
  let hovered = null // the image under the mouse, once it moves
  let pointer = null // its last place: a swap under a resting mouse is no pointing
  const idAt = (target) => Number(target.closest?.(".tile")?.dataset.id) || null

  /* ---- focus and pointing ---- */

  const pointed = () => (isOne ? ids[0] : (hovered ?? focused))

  function hover(id) {
    if (id === hovered && selection.isLive() === isLiveShown) return
    hovered = id
    onPick()
  }

  function focus(id, { isQuiet = false } = {}) {
    for (const tile of tiles) tile.tabIndex = -1
    focused = id
    tileOf.get(id).tabIndex = 0
    if (!isQuiet) tileOf.get(id).focus({ preventScroll: true })
  }

  function go(direction, extend) {
    const columns = getComputedStyle(sheet).gridTemplateColumns.split(" ").length
    const next = ids[beside(ids.indexOf(focused), direction, columns, ids.length)]
    if (extend) {
      selection.add(focused)
      selection.add(next)
    }
    hovered = null // even where the mouse rests: now the keys speak
    selection.hover(false)
    selection.move()
    focus(next)
    onPick()
  }

  /* ---- showing ---- */

  function chip(id, label, hint) {
    const { name, color } = classOf.get(label)
    const element = document.createElement("span")
    element.className = `chip ${hint ? "is-hint" : "is-set"} ${color.startsWith("#") ? "" : color}`
    element.dataset.color = color
    if (!hint) element.append(icon("check"))
    const text = document.createElement("span")
    text.className = "clip"
    text.textContent = name
    element.append(text)
    if (hint) {
      if (hint.confidence !== null) {
        const percent = document.createElement("span")
        percent.className = "pct"
        percent.textContent = `${Math.round(hint.confidence * 100)}%`
        element.append(percent)
      }
      element.append(icon("spark"))
    }
    if (isMulti || hint) {
      element.dataset.chip = label
      element.title = say(isMulti ? "take-off" : "confirm-one", { label: name })
      if (isMulti) element.append(icon("close", "off"))
    }
    return element
  }

  function plainChip(className, sign, words) {
    const element = document.createElement("span")
    element.className = `chip ${className}`
    element.append(icon(sign), words)
    return element
  }

  function describe(id, number) {
    const place = say("image", { n: number, total: ids.length })
    const answer = answers.answer(id)
    const named = (labels) => labels.map((label) => classOf.get(label).name).join(", ")
    let state = named(answers.labels(id))
    if (answer?.skip) state = say("skipped", { reason: say(`reason.${answer.skip}`) })
    else if (answers.hints(id).length) {
      const words = answers.hints(id).map((hint) => {
        const { name } = classOf.get(hint.label_class)
        return hint.confidence === null ? name : `${name} ${Math.round(hint.confidence * 100)}%`
      })
      state = say("suggested", { labels: words.join(", ") })
    }
    return `${place}: ${state || say(missing.has(id) ? "needs" : "no-label")}`
  }

  function paint() {
    const targets = selection.targets(pointed())
    isLiveShown = selection.isLive()
    const isAiming = !isLiveShown
    for (const [index, id] of ids.entries()) {
      const tile = tileOf.get(id)
      const answer = answers.answer(id)
      const isOn = selection.isPicked(id) && selection.isLive() && !isOne
      if (answers.isComplete(id)) missing.delete(id)
      tile.setAttribute("aria-selected", String(isOn))
      tile.classList.toggle("is-on", isOn)
      tile.classList.toggle("is-spent", isOn && selection.isSpent())
      tile.classList.toggle("is-aim", isAiming && targets[0] === id)
      tile.classList.toggle("is-missing", missing.has(id))
      const chips = answers.labels(id).map((label) => chip(id, label, null))
      for (const hint of answers.hints(id)) chips.push(chip(id, hint.label_class, hint))
      if (answer?.skip) chips.push(plainChip("is-skip", "skip", answer.note || say(`reason.${answer.skip}`)))
      if (missing.has(id)) chips.push(plainChip("is-warn", "warn", say("needs")))
      tile.querySelector(".labels").replaceChildren(...chips)
      tile.setAttribute("aria-label", describe(id, index + 1))
    }
    for (const element of sheet.querySelectorAll('[data-color^="#"]')) paintColor(element)
  }

  /* ---- presses ---- */

  let press = null // {id, x, y, before, timer, box}

  function release() {
    clearTimeout(press?.timer)
    press?.box?.remove()
    press = null
  }

  function touchedBy(box) {
    return ids.filter((id) => {
      const tile = tileOf.get(id).getBoundingClientRect()
      return tile.left < box.right && tile.right > box.left && tile.top < box.bottom && tile.bottom > box.top
    })
  }

  function drawRectangle(event) {
    const frame = sheet.getBoundingClientRect()
    const box = {
      left: Math.max(frame.left, Math.min(press.x, event.clientX)),
      top: Math.max(frame.top, Math.min(press.y, event.clientY)),
      right: Math.min(frame.right, Math.max(press.x, event.clientX)),
      bottom: Math.min(frame.bottom, Math.max(press.y, event.clientY)),
    }
    if (!press.box) {
      press.box = document.createElement("li")
      press.box.className = "marquee"
      press.box.role = "presentation"
      sheet.append(press.box)
    }
    Object.assign(press.box.style, {
      left: `${box.left - frame.left}px`,
      top: `${box.top - frame.top}px`,
      width: `${box.right - box.left}px`,
      height: `${box.bottom - box.top}px`,
    })
    selection.set(touchedBy(box), press.before)
    onPick()
  }

  sheet.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || isOne || event.target.closest("[data-closer]")) return
    if (press) return release() // a second finger: neither pick nor rectangle
    const id = idAt(event.target)
    press = { id, x: event.clientX, y: event.clientY, before: event.shiftKey ? selection.picked() : [] }
    if (id) press.timer = setTimeout(() => { release(); onCloser(id) }, LONG_PRESS)
    sheet.setPointerCapture(event.pointerId)
  })
  sheet.addEventListener("pointermove", (event) => {
    if (press) {
      if (!press.box && Math.hypot(event.clientX - press.x, event.clientY - press.y) <= DRAG_FROM) return
      clearTimeout(press.timer)
      return drawRectangle(event)
    }
    if (event.pointerType === "touch" || isOne) return
    const place = `${event.clientX} ${event.clientY}`
    const wasMoved = pointer !== null && pointer !== place
    pointer = place
    if (!wasMoved) return
    const id = idAt(event.target)
    selection.hover(id !== null)
    hover(id)
  })
  sheet.addEventListener("pointerleave", () => {
    selection.hover(false)
    hover(null)
  })
  sheet.addEventListener("pointerup", (event) => {
    if (!press) return
    const { id, box } = press
    release()
    if (box) {
      const last = selection.picked().at(-1)
      if (last) focus(last)
      return onPick()
    }
    if (id === null) return
    const label = event.target.ownerDocument.elementFromPoint(event.clientX, event.clientY)?.closest("[data-chip]")
    if (label && idAt(label) === id) return onChip(id, Number(label.dataset.chip))
    if (event.shiftKey) selection.range(id)
    else selection.toggle(id)
    focus(id)
    onPick()
  })
  sheet.addEventListener("pointercancel", release)
  sheet.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault() })
  sheet.addEventListener("dblclick", (event) => {
    const id = idAt(document.elementFromPoint(event.clientX, event.clientY))
    if (id && !isOne && !event.target.closest("[data-chip]")) onCloser(id)
  })
  sheet.addEventListener("click", (event) => {
    const button = event.target.closest("[data-closer]")
    if (button) onCloser(idAt(button))
    // A screen reader presses an option without any pointer.
    else if (event.detail === 0 && idAt(event.target) && !isOne) {
      selection.toggle(idAt(event.target))
      onPick()
    }
  })
  sheet.addEventListener("focusin", (event) => {
    const id = idAt(event.target)
    if (id && id !== focused) focus(id, { isQuiet: true })
  })

  for (const [id, tile] of tileOf) watchImage(tile, () => tile.classList.add("is-broken"))
  const sharper = requestAnimationFrame(() => tiles.forEach(sharpen))

  return {
    selection,
    paint,
    focus,
    go,
    tileOf: (id) => tileOf.get(id),
    focused: () => focused,
    targets: () => selection.targets(pointed()),
    targetsOfPress: () => selection.targetsOfPress(focused),
    showMissing(list) {
      list.forEach((id) => missing.add(id))
      hovered = null
      selection.clear()
      focus(list[0])
    },
    destroy() {
      release()
      cancelAnimationFrame(sharper)
    },
  }
}

/** Once more after a moment, then the tile says that the image can't be shown. */
function watchImage(tile, onBroken) {
  const image = tile.querySelector("img")
  let tries = 0
  const failed = () => {
    tries += 1
    if (tries > 1) return onBroken()
    setTimeout(() => { image.src = image.src }, 2000)
  }
  image.addEventListener("error", failed)
  if (image.complete && !image.naturalWidth && image.getAttribute("src")) failed()
}

/** Where the preview is too small for its tile, put the larger picture in its place, decoded first. */
async function sharpen(tile) {
  const image = tile.querySelector("img")
  const shown = Math.max(tile.clientWidth, tile.clientHeight) * devicePixelRatio
  if (shown < 700) return
  const large = new Image()
  large.fetchPriority = "low"
  large.src = image.dataset.large
  try {
    await large.decode()
    if (tile.isConnected) image.src = large.src
  } catch {
    // The preview stays.
  }
}

/** A manager's own colour, and black or white on it, whichever contrasts more (WCAG 2.2 relative luminance). */
export function paintColor(element) {
  const color = element.dataset.color
  element.style.setProperty("--c", color)
  element.style.setProperty("--on", inkOn(color))
}

/** Pure: "#fff" or "#000" for text on a colour "#rrggbb". */
export function inkOn(color) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(color.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b
  return 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 ? "#fff" : "#000"
}
