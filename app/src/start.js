
import init, { hydrate } from '/pkg/knowlm.js';
await init({ module_or_path: '/pkg/knowlm.wasm' });
// Taking the page over writes into its fields what the server drew there. What a person has typed or chosen before, or the
// browser has brought back, is put in again, as if it were done now.
const changed = (field) =>
  field.type === 'checkbox' ? field.checked !== field.defaultChecked
  : field.type === 'radio' ? field.checked && !field.defaultChecked
  : field.tagName === 'SELECT' ? field.selectedIndex !== Math.max(0, [...field.options].findLastIndex((o) => o.defaultSelected))
  : field.type !== 'hidden' && field.type !== 'file' && field.value !== field.defaultValue;
const kept = [...document.querySelectorAll('input, select, textarea')].filter(changed)
  .map((field) => ({ field, value: field.value, checked: field.checked, at: field === document.activeElement && field.selectionStart }));
hydrate();
for (const { field, value, checked, at } of kept) {
  // The fields are written a moment later; and what is put in may draw others anew.
  await new Promise((next) => setTimeout(next));
  if (!field.isConnected) continue;
  const box = ['checkbox', 'radio'].includes(field.type);
  if (box && field.checked !== checked) {
    field.click();
    continue;
  }
  if (!box && field.value !== value) {
    field.value = value;
    if (typeof at === 'number') field.setSelectionRange(at, at);
  }
  field.dispatchEvent(new Event(box || field.tagName === 'SELECT' ? 'change' : 'input', { bubbles: true }));
}
