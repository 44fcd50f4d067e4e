/**
 * What the labeling page says and asks: announcements, the dock's message, the toast, and the dialogs.
 */

/** The words of #messages: say("missing", {n: 4}). A name with ".4" is taken for exactly that n. */
export function createSay(root = document) {
  const words = new Map(
    [...root.getElementById("messages").content.children].map((line) => [line.dataset.m, line.textContent]),
  )
  return (name, values = {}) => {
    const text = words.get(`${name}.${values.n}`) ?? words.get(name) ?? name
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "")
  }
}

/** Say it to screen readers; the same words twice are heard twice. */
export function announce(text) {
  const region = document.getElementById("announce")
  region.textContent = ""
  setTimeout(() => { region.textContent = text }, 30)
}

/** A sign of the document's sprite (templates/includes/icons.html). */
export function icon(name, extra = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg")
  svg.setAttribute("class", `ico ${extra}`)
  svg.setAttribute("aria-hidden", "true")
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use")
  use.setAttribute("href", `#i-${name}`)
  svg.append(use)
  return svg
}

function element(tag, className, text) {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}

/** The one message in the dock; the countdown in it changes only its words. */
export function createDockMessage(root) {
  const place = root.querySelector("[data-message]")
  let shown = ""
  return {
    tell({ kind = "", sign: name, title, text, button, press }) {
      if (shown !== title + button) {
        shown = title + button
        place.className = `dockmsg note ${kind}`
        const words = document.createElement("span")
        words.append(element("b", "", title), " ", element("span", "", ""))
        place.replaceChildren(icon(name), words)
        if (button) {
          const go = element("button", "btn small", button)
          go.type = "button"
          go.addEventListener("click", press)
          place.append(go)
        }
      }
      place.querySelector("span > span").textContent = text
      place.hidden = false
    },
    hush() {
      shown = ""
      if (place) place.hidden = true
    },
  }
}

const TOAST_FOR = 5000 // milliseconds
let toastTimer = 0

/** One at a time; it stays while it has the focus or the pointer. */
export function toast(text, { strong = "", button = "", key = "", press = () => {} } = {}) {
  const place = document.getElementById("toast")
  const words = element("span", "clip", text)
  if (strong) words.append(" ", element("b", "", strong))
  place.replaceChildren(icon(button ? "check" : "info"), words)
  if (button) {
    const go = element("button", "btn small", `${button} `)
    go.type = "button"
    if (key) go.append(element("kbd", "kbd", key))
    go.addEventListener("mousedown", (event) => event.preventDefault())
    go.addEventListener("click", () => { hideToast(); press() })
    place.append(go)
  }
  place.hidden = false
  clearTimeout(toastTimer)
  const leave = () => {
    if (place.matches(":hover, :focus-within")) toastTimer = setTimeout(leave, 1000)
    else place.hidden = true
  }
  toastTimer = setTimeout(leave, TOAST_FOR)
}

export function hideToast() {
  clearTimeout(toastTimer)
  document.getElementById("toast").hidden = true
}

/** Open a dialog by its id; resolves when it has closed. */
export function openDialog(id) {
  const dialog = document.getElementById(id)
  if (!dialog.open) dialog.showModal()
  return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }))
}

export const openedDialog = () => document.querySelector("dialog[open]")

/** Crosses close, and so does a press beside a dialog that can be left. */
export function wireDialogs() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-close]")
    if (button) return button.closest("dialog").close()
    const opener = event.target.closest("[data-open]")
    if (opener) return openDialog(opener.dataset.open)
    const dialog = event.target
    if (dialog.tagName !== "DIALOG" || dialog.role === "alertdialog") return
    const { left, right, top, bottom } = dialog.getBoundingClientRect()
    const isBeside = event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom
    if (isBeside && event.detail) dialog.close()
  })
  document.getElementById("lapsed").addEventListener("cancel", (event) => event.preventDefault())
}

/** Ask why; resolves to {reason, note}, or null if the labeler thought better of it. */
export async function askSkip(say, n) {
  const dialog = document.getElementById("skip")
  const form = dialog.querySelector("form")
  const note = form.querySelector("input")
  const reasons = [...dialog.querySelectorAll("[data-reason]")]
  const other = reasons.at(-1)
  let answer = null
  form.hidden = true
  note.value = ""
  other.setAttribute("aria-expanded", "false")
  dialog.querySelector("h2").textContent = say("skip-head", { n })

  const controller = new AbortController()
  const options = { signal: controller.signal }
  const choose = (button) => {
    if (button === other) {
      form.hidden = false
      other.setAttribute("aria-expanded", "true")
      return note.focus()
    }
    answer = { reason: button.dataset.reason, note: "" }
    dialog.close()
  }
  for (const button of reasons) button.addEventListener("click", () => choose(button), options)
  dialog.addEventListener("keydown", (event) => {
    const button = event.target !== note && reasons[Number(event.key) - 1]
    if (!button) return
    event.preventDefault()
    choose(button)
  }, options)
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    if (!note.value.trim()) return
    answer = { reason: "other", note: note.value.trim() }
    dialog.close()
  }, options)
  const closed = openDialog("skip")
  reasons[0].focus()
  await closed
  controller.abort()
  return answer
}

/** Find a class by name; resolves to its id, or null. */
export async function askClass(classes) {
  const dialog = document.getElementById("find")
  const input = dialog.querySelector("input")
  const list = dialog.querySelector("ul")
  let found = []
  let at = 0
  let chosen = null

  const mark = () => {
    for (const [index, line] of [...list.children].entries()) {
      line.setAttribute("aria-selected", String(index === at))
      if (index === at) line.scrollIntoView({ block: "nearest" })
    }
    if (found.length) input.setAttribute("aria-activedescendant", `found-${at}`)
    else input.removeAttribute("aria-activedescendant")
  }
  const search = () => {
    found = matching(classes, input.value)
    at = 0
    list.replaceChildren(...found.map((label, index) => {
      const line = document.createElement("li")
      line.id = `found-${index}`
      line.role = "option"
      const dot = element("span", `dot ${label.color}`, "")
      if (label.color.startsWith("#")) dot.style.setProperty("--c", label.color)
      line.append(dot, element("span", "clip", label.name))
      if (label.key) line.append(element("kbd", "kbd", label.key))
      line.addEventListener("click", () => choose(index))
      return line
    }))
    dialog.querySelector("[data-none]").hidden = found.length > 0
    mark()
  }
  const choose = (index) => {
    chosen = found[index]?.id ?? null
    if (chosen !== null) dialog.close()
  }
  const controller = new AbortController()
  input.addEventListener("input", search, { signal: controller.signal })
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (event.key === "Enter") choose(at)
    else if (step) {
      at = (at + step + found.length) % (found.length || 1)
      mark()
    } else return
    event.preventDefault()
  }, { signal: controller.signal })
  input.value = ""
  search()
  const closed = openDialog("find")
  input.focus()
  await closed
  controller.abort()
  return chosen
}

/** Names that begin with the words come first, then names that hold them. Pure. */
export function matching(classes, words) {
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase()
  const wanted = plain(words.trim())
  const begins = classes.filter((label) => plain(label.name).startsWith(wanted))
  return [...begins, ...classes.filter((label) => !begins.includes(label) && plain(label.name).includes(wanted))]
}

/** The page is someone else's: nothing is left but to copy the answers and to go on. */
export async function tellLapsed(say, { n, minutes, text }) {
  const dialog = document.getElementById("lapsed")
  dialog.querySelector("#lapsed-text").textContent = say("lapsed", { n, minutes })
  const copy = dialog.querySelector("[data-copy]")
  copy.hidden = n === 0
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text)
      copy.textContent = say("copied")
    } catch {
      copy.textContent = say("not-copied")
    }
  }
  dialog.querySelector("[data-next]").onclick = () => dialog.close()
  await openDialog("lapsed")
}

/**
 * Log in without leaving the page, with the site's own form. Resolves to whether it worked.
 * @param {(verb: string, url: string, values?: object) => Promise<{status: number, text: string, detail: string}>} send
 */
export async function askLogin(say, send, url, next) {
  const dialog = document.getElementById("login")
  const place = dialog.querySelector("[data-form]")
  let isIn = false

  function take(reply) {
    const page = new DOMParser().parseFromString(reply.text, "text/html")
    const form = page.getElementById("login-form")
    if (reply.status === 200 && !form) {
      isIn = true
      return dialog.close()
    }
    if (!form) return place.replaceChildren(element("p", "note bad", reply.detail || say("login-failed")))
    form.className = "stack"
    form.querySelector("h1")?.remove()
    form.addEventListener("submit", async (event) => {
      event.preventDefault()
      form.querySelector("button").disabled = true
      take(await send("POST", form.getAttribute("action"), Object.fromEntries(new FormData(form))))
    })
    place.replaceChildren(form)
    form.querySelector("[name=username]").focus()
  }

  const closed = openDialog("login")
  take(await send("GET", `${url}?next=${encodeURIComponent(next)}`))
  await closed
  place.replaceChildren()
  return isIn
}

/** The list of keys, with the rows of the present task only. */
export function openKeys(task) {
  for (const row of document.querySelectorAll("#keys [data-for]")) {
    row.hidden = !row.dataset.for.split(" ").includes(task)
  }
  return openDialog("keys")
}
