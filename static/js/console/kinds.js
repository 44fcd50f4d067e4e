/* The datastore's form shows the fields that its kind has. */
const kind = document.getElementById("id_kind")

function show() {
  for (const part of document.querySelectorAll("[data-kinds]")) {
    part.hidden = !part.dataset.kinds.split(" ").includes(kind.value)
  }
}

kind.addEventListener("change", show)
show()
