// Computes the SHA-256 of a file in a worker and asks for the page of that digest. Nothing of the
// file leaves the machine. Without script the forms beneath do the same by hand.
"use strict";

const drop = document.getElementById("drop");
const input = document.getElementById("file");
const progress = document.getElementById("progress");
const amount = document.getElementById("amount");
let worker = null;

function look(file) {
  if (!file) return;
  if (worker) worker.terminate();
  worker = new Worker("/static/sha256.js");
  amount.hidden = false;
  amount.value = 0;
  progress.textContent = `${progress.dataset.working} ${file.name}`;
  worker.onmessage = ({ data }) => {
    if (data.digest) {
      document.getElementById("sha256").value = data.digest;
      document.getElementById("by-digest-form").submit();
    } else if (data.failed) {
      amount.hidden = true;
      progress.textContent = progress.dataset.failed;
    } else {
      amount.value = data.percent;
    }
  };
  worker.onerror = () => {
    amount.hidden = true;
    progress.textContent = progress.dataset.failed;
  };
  worker.postMessage(file);
}

drop.hidden = false;
input.addEventListener("change", () => look(input.files[0]));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  look(event.dataTransfer.files[0]);
});
