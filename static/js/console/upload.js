/* Upload files, a folder or a zip, some at a time, with a bar that shows how far it is. */
const BATCH_FILES = 100
const BATCH_BYTES = 32 * 1024 * 1024

for (const root of document.querySelectorAll("[data-upload]")) mount(root)

function mount(root) {
  let request = null
  let isStopped = false
  const find = (name) => root.querySelector(`[data-${name}]`)
  const told = find("told")

  root.addEventListener("change", (event) => {
    if (!event.target.matches("[data-files]")) return
    const files = [...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    event.target.value = ""
    send(files)
  })
  root.addEventListener("dragover", (event) => { event.preventDefault(); root.classList.add("is-over") })
  root.addEventListener("dragleave", () => root.classList.remove("is-over"))
  root.addEventListener("drop", async (event) => {
    event.preventDefault()
    root.classList.remove("is-over")
    send(await dropped(event.dataTransfer))
  })
  find("stop").addEventListener("click", () => { isStopped = true; request?.abort() })

  async function send(files) {
    if (request) return
    const total = { stored: 0, kept: 0, refused: 0 }
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0) || 1
    let before = 0
    let done = 0
    isStopped = false
    find("refused").replaceChildren()
    find("progress").hidden = false
    if (!files.length) { show(0); say("none"); return }
    for (const batch of batches(files)) {
      const size = batch.reduce((sum, { file }) => sum + file.size, 0)
      say("going", { done, all: files.length })
      const answer = await post(batch, (sent) => {
        show((before + Math.min(sent, size)) / bytes)
        if (sent >= size) say("storing")
      })
      if (!answer) { request = null; finish(); if (!isStopped) say("lost"); return }
      if (answer.detail) { request = null; told.textContent = answer.detail; finish(); return }
      total.stored += answer.stored; total.kept += answer.kept; total.refused += answer.n_refused
      for (const { name, reason } of answer.refused) find("refused").append(line(`${name}: ${reason}`))
      before += size
      done += batch.length
      show(before / bytes)
    }
    request = null
    finish()
    say("done", total)
  }

  function finish() {
    const found = document.getElementById("found")
    if (found) window.htmx.trigger(found, "uploaded")
    root.dispatchEvent(new CustomEvent("upload-end", { bubbles: true }))
  }

  function post(batch, onProgress) {
    const body = new FormData()
    body.set("datastore", document.getElementById(root.dataset.datastore).value)
    body.set("folder", document.getElementById(root.dataset.folder).value)
    if (find("overwrite").checked) body.set("overwrite", "on")
    body.set("paths", JSON.stringify(batch.map(({ path }) => path)))
    for (const { file } of batch) body.append("files", file)
    return new Promise((resolve) => {
      request = new XMLHttpRequest()
      request.open("POST", root.dataset.upload)
      request.setRequestHeader("X-CSRFToken", root.closest("form").querySelector("[name=csrfmiddlewaretoken]").value)
      request.responseType = "json"
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded))
      request.addEventListener("load", () => resolve(request.response))
      request.addEventListener("error", () => resolve(null))
      request.addEventListener("abort", () => resolve(null))
      request.send(body)
    })
  }

  function show(share) {
    const bar = find("progress").querySelector("svg")
    bar.firstElementChild.setAttribute("width", Math.round(1000 * Math.min(share, 1)))
    bar.setAttribute("aria-valuenow", Math.round(100 * Math.min(share, 1)))
  }

  function say(words, values = {}) {
    const text = root.dataset[`words${words[0].toUpperCase()}${words.slice(1)}`]
    told.textContent = text.replace(/\{(\w+)\}/g, (_all, name) => values[name].toLocaleString(document.documentElement.lang))
  }
}

function line(text) {
  const item = document.createElement("li")
  item.textContent = text
  return item
}

/** Split the files into parts that one request carries; a large file goes alone. */
export function* batches(files) {
  let batch = []
  let size = 0
  for (const entry of files) {
    if (batch.length && (batch.length >= BATCH_FILES || size + entry.file.size > BATCH_BYTES)) {
      yield batch
      batch = []
      size = 0
    }
    batch.push(entry)
    size += entry.file.size
  }
  if (batch.length) yield batch
}

/** Return what was dropped, folders opened, as {file, path}. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
  const found = []
  for (const entry of entries) await walk(entry, found)
  return found
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject))
    found.push({ file, path: entry.fullPath.replace(/^\//, "") })
    return
  }
  const reader = entry.createReader()
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    if (!some.length) return
    for (const child of some) await walk(child, found)
  }
}
