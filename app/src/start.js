import init, { hydrate } from '/pkg/knowlm.js';
await init({ module_or_path: '/pkg/knowlm.wasm' });
// Taking the page over writes into its fields what the server drew there. What a person has typed or chosen before, or the
// browser has brought back, is put in again, as if it were done now.
const isBox = (field) => field.type === 'checkbox' || field.type === 'radio';
const isList = (field) => field.tagName === 'SELECT';
const changed = (field) =>
  field.type === 'checkbox' ? field.checked !== field.defaultChecked
  : field.type === 'radio' ? field.checked && !field.defaultChecked
  : isList(field) ? field.selectedIndex !== Math.max(0, [...field.options].findLastIndex((o) => o.defaultSelected))
  : field.type !== 'hidden' && field.type !== 'file' && field.value !== field.defaultValue;
const kept = [...document.querySelectorAll('input, select, textarea')].filter(changed)
  .map((field) => ({ field, name: field.name, value: field.value, checked: field.checked, at: field === document.activeElement && field.selectionStart }));
const put = ({ field, value, at }) => {
  field.value = value;
  if (typeof at === 'number') field.setSelectionRange(at, at);
};
const typing = kept.find(({ at }) => typeof at === 'number');
// Letters that come meanwhile are kept with those before them.
const typed = (event) => {
  if (event.isTrusted) Object.assign(typing, { value: typing.field.value, at: typing.field.selectionStart });
};
hydrate();
// The next letters are waiting behind this.
await null;
if (typing) {
  put(typing);
  typing.field.addEventListener('input', typed);
}
for (const one of kept) {
  const { field, name, checked } = one;
  // The other fields are written a moment later; and what is put in may draw others anew, in the same place.
  await new Promise((next) => setTimeout(next));
  if (!field.isConnected || field.name !== name) continue;
  const { value } = one;
  if (isBox(field)) {
    if (field.value === value && field.checked !== checked) field.click();
  } else if (isList(field)) {
    if (![...field.options].some((option) => option.value === value)) continue;
    field.value = value;
    field.dispatchEvent(new Event('change', { bubbles: true }));
  } else {
    const lost = field.value !== value;
    if (lost) put(one);
    if (lost || one === typing) field.dispatchEvent(new Event('input', { bubbles: true }));
  }
}
typing?.field.removeEventListener('input', typed);
document.documentElement.dataset.started = '';
