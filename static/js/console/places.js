/* Browse: walk a datastore's folders in a dialog and take one as the path. */
const dialog = document.getElementById("browse")
let field = null

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-browse]")
  if (opener) open(opener)
  const taken = event.target.closest("[data-take]")
  if (taken && field) {
    field.value = taken.dataset.take
    field.dispatchEvent(new Event("input", { bubbles: true }))
    dialog.close()
    field.focus()
  }
})

function open(opener) {
  field = document.getElementById(opener.dataset.path)
  const datastore = document.getElementById(opener.dataset.browse).value
  const folder = folderOf(field.value)
  dialog.showModal()
  const url = `${dialog.dataset.url}?${new URLSearchParams({ datastore, folder })}`
  window.htmx.ajax("GET", url, { target: "#browse-body", swap: "innerHTML" })
}

/** Return the folder that a pattern begins in: its parts before the first wildcard. */
export function folderOf(pattern) {
  const parts = pattern.replace(/^\/+|\/+$/g, "").split("/")
  const end = parts.findIndex((part) => /[*?]/.test(part))
  return parts.slice(0, end < 0 ? parts.length : end).join("/")
}
