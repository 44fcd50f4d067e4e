/* The rows of classes: add, remove, reorder by drag or arrow keys, colours, a bulk list, and what labelers will see. */
const PALETTE = 16
const root = document.querySelector("[data-classes]")
if (root) mount(root)

function mount(root) {
  const list = root.querySelector("[data-rows]")
  const palette = document.getElementById("palette")
  const bulk = root.querySelector("[name=class_list]")
  const asList = root.querySelector("[data-as-list]")
  const blank = root.querySelector("template[data-row]") // on Details rows are changed, and none is added
  let swatch = null

  const rows = () => [...list.children]
  const nameOf = (row) => row.querySelector("[name=class_name]")
  const colorOf = (row) => row.querySelector("[name=class_color]")

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button")
    if (!button) return
    if (button.matches("[data-add]")) nameOf(add()).focus()
    else if (button.matches("[data-remove]")) remove(button.closest("[data-class-row]"))
    else if (button.matches("[data-mode]")) setMode(button.dataset.mode)
    else if (button.matches("[data-swatch]")) { swatch = button; placePalette(button) }
    else if (button.matches("[data-color]")) { paint(button.dataset.color); palette.hidePopover(); swatch.focus() }
  })
  palette.querySelector("[data-own-color]").addEventListener("input", (event) => paint(event.target.value))
  list.addEventListener("input", () => refresh())
  list.addEventListener("keydown", (event) => {
    const row = event.target.closest("[data-class-row]")
    if (event.target.matches("[data-handle]") && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault()
      const other = event.key === "ArrowUp" ? row.previousElementSibling : row.nextElementSibling
      if (other) { other[event.key === "ArrowUp" ? "before" : "after"](row); refresh(); event.target.focus(); sayPlace(row) }
    } else if (event.key === "Enter" && event.target.matches("[name=class_name]") && event.target.value.trim()) {
      event.preventDefault()
      const next = row.nextElementSibling ?? (blank ? add() : null)
      if (next) nameOf(next).focus()
    }
  })
  list.addEventListener("paste", (event) => {
    const lines = event.clipboardData.getData("text").split(/\r?\n/).map((line) => line.trim()).filter(Boolean)
    if (!blank || lines.length < 2 || !event.target.matches("[name=class_name]")) return
    event.preventDefault()
    let row = event.target.closest("[data-class-row]")
    lines.forEach((line, place) => {
      if (place) row = nameOf(row).value && row.nextElementSibling === null ? add() : row.nextElementSibling ?? add()
      nameOf(row).value = line
    })
    refresh()
  })
  list.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest("[data-handle]")
    if (handle) drag(event, handle)
  })

  function add(name = "", color = "") {
    const row = blank.content.firstElementChild.cloneNode(true)
    nameOf(row).value = name
    colorOf(row).value = color
    list.append(row)
    refresh()
    return row
  }

  function remove(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling
    row.remove()
    nameOf(next ?? add()).focus()
    refresh()
  }

  function drag(event, handle) {
    const row = handle.closest("[data-class-row]")
    event.preventDefault()
    handle.setPointerCapture(event.pointerId)
    row.classList.add("is-dragged")
    const move = ({ clientY }) => {
      for (const other of rows()) {
        if (other === row) continue
        const box = other.getBoundingClientRect()
        const isAbove = row.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_PRECEDING
        if (isAbove ? clientY < box.top + box.height / 2 : clientY > box.top + box.height / 2) {
          if (isAbove) { other.before(row); break }
          other.after(row)
        }
      }
      refresh()
    }
    const end = () => {
      row.classList.remove("is-dragged")
      handle.removeEventListener("pointermove", move)
      sayPlace(row)
    }
    handle.addEventListener("pointermove", move)
    handle.addEventListener("lostpointercapture", end, { once: true })
  }

  function sayPlace(row) {
    const said = root.querySelector("[data-said]")
    said.textContent = `${nameOf(row).value}: ${rows().indexOf(row) + 1} / ${rows().length}`
  }

  function paint(color) {
    colorOf(swatch.closest("[data-class-row]")).value = color
    refresh()
  }

  function placePalette(button) {
    const box = button.getBoundingClientRect()
    palette.style.left = `${Math.min(box.left, innerWidth - 320) + scrollX}px`
    palette.style.top = `${box.bottom + 4 + scrollY}px`
    palette.querySelector("[data-own-color]").value = hexOf(colorOf(button.closest("[data-class-row]")).value)
  }

  function setMode(mode) {
    if (mode === "list") {
      bulk.value = rows().map((row) => nameOf(row).value.trim()).filter(Boolean).join("\n")
    } else if (asList.value) {
      const colors = new Map(rows().map((row) => [nameOf(row).value.trim().toLowerCase(), colorOf(row).value]))
      const names = bulk.value.split("\n").map((line) => line.trim()).filter(Boolean)
      list.replaceChildren()
      for (const name of names.length ? names : [""]) add(name, colors.get(name.toLowerCase()) ?? "")
    }
    asList.value = mode === "list" ? "on" : ""
    for (const button of root.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === mode)
    for (const part of root.querySelectorAll("[data-only]")) part.hidden = part.dataset.only !== mode
    list.hidden = mode === "list"
    if (mode === "list") bulk.focus()
    refresh()
  }

  /** Number the rows, give each its colour, point out names that are there twice, and draw the preview. */
  function refresh() {
    const taken = rows().map((row) => colorOf(row).value)
    const seen = new Map()
    rows().forEach((row, place) => {
      row.querySelector("[data-key]").textContent = place < 9 ? place + 1 : ""
      if (!colorOf(row).value) { colorOf(row).value = freeColor(taken); taken[place] = colorOf(row).value }
      show(row.querySelector("[data-swatch] .dot"), colorOf(row).value)
      const name = nameOf(row).value.trim()
      const first = seen.get(name.toLowerCase())
      const isTwice = Boolean(name) && first !== undefined
      if (name && !isTwice) seen.set(name.toLowerCase(), name)
      mark(row, isTwice ? first : "")
    })
    root.querySelector("[data-preview]").replaceChildren(...rows().filter((row) => nameOf(row).value.trim()).map(sample))
  }

  function mark(row, first) {
    const error = row.querySelector("[data-error]")
    if (first) nameOf(row).setAttribute("aria-invalid", "true")
    else nameOf(row).removeAttribute("aria-invalid")
    error.hidden = !first
    if (first) error.querySelector("[data-error-text]").textContent = root.dataset.wordsTwice.replace("{name}", first)
  }

  function sample(row) {
    const place = rows().indexOf(row)
    const item = document.createElement("span")
    item.className = "row"
    if (place < 9) item.append(Object.assign(document.createElement("kbd"), { className: "kbd", textContent: place + 1 }))
    const chip = Object.assign(document.createElement("span"), { className: "chip is-set", textContent: nameOf(row).value.trim() })
    show(chip, colorOf(row).value)
    item.append(chip)
    return item
  }

  refresh()
}

/** Return the palette's least used colour, the earliest of equals. */
export function freeColor(taken) {
  let best = "c1"
  let fewest = Infinity
  for (let n = 1; n <= PALETTE; n += 1) {
    const uses = taken.filter((color) => color === `c${n}`).length
    if (uses < fewest) { fewest = uses; best = `c${n}` }
  }
  return best
}

function show(element, color) {
  element.className = element.className.replace(/\bc\d+\b/g, "").trim()
  element.style.removeProperty("--c")
  element.style.removeProperty("--on")
  if (color.startsWith("#")) {
    element.style.setProperty("--c", color)
    element.style.setProperty("--on", isLight(color) ? "#111" : "#fff")
  } else element.classList.add(color)
}

/** Whether black text reads better on the colour than white: WCAG's relative luminance. */
export function isLight(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179
}

function hexOf(color) {
  if (color.startsWith("#")) return color
  const probe = Object.assign(document.createElement("span"), { className: color })
  document.body.append(probe)
  const hex = getComputedStyle(probe).getPropertyValue("--c").trim()
  probe.remove()
  return hex || "#000000"
}
