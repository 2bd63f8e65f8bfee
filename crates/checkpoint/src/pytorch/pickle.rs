//! The pickle of a PyTorch file, as data.
//!
//! A pickle is a list of instructions for a machine with a stack. Those that PyTorch needs to write down a
//! dictionary of tensors are followed here; every value they make is one of [`Node`]. An instruction makes at
//! most one value, and there are limits for values, entries and names, so that no program can fill the memory: it takes
//! some 50 MB at most. Source: the instructions' descriptions in Python's `pickletools`.

use std::collections::{BTreeMap, HashMap};

use crate::{BlockFormat, Element};

/// The programs of the largest models have some 200 kB.
pub(super) const MAX_PROGRAM: usize = 4 << 20;
/// Those make some 50,000 values.
const MAX_NODES: usize = 1 << 18;
/// Those have some 2,000 tensors.
const MAX_TENSORS: usize = 1 << 16;
/// Names of tensors have some 100 bytes.
const MAX_NAME: usize = 1 << 12;
/// Names of storages are numbers.
const MAX_KEY: usize = 32;

/// Why a program was not followed to its end.
pub(super) enum Error {
    Damaged(String),
    Refused(String),
}

use Error::{Damaged, Refused};

fn damaged<T>(reason: &str) -> Result<T, Error> {
    Err(Damaged(format!("its pickle {reason}")))
}

/// The type of the numbers in a storage, by its name.
fn storage_type(name: &str) -> Option<Element> {
    Some(match name {
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::Block(BlockFormat::F16),
        "BFloat16Storage" => Element::Block(BlockFormat::Bf16),
        "DoubleStorage" => Element::F64,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        _ => return None,
    })
}

/// Bytes of the file: their name and the type of their numbers.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub kind: Element,
    pub key: String,
    /// The number of it that tensors count from.
    pub first: usize,
}

/// A part of a storage, seen as a tensor.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
}

/// A name that a program may use.
#[derive(Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// A value. Those made of others hold their places in the list of all values.
enum Node {
    /// Anything that nothing depends on: nothing, truth values, fractions.
    Plain,
    Integer(i64),
    Text(String),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
}

/// The tensors of a program's dictionary, and the length of the program.
pub(super) fn read(program: &[u8]) -> Result<(Vec<(String, Tensor)>, usize), Error> {
    let (machine, top) = run(program)?;
    let Some(Node::Dict(entries)) = machine.nodes.get(top) else {
        return Err(Refused("it is no dictionary of tensors; save a model's state_dict()".into()));
    };
    // By the place of the name first, then by name: a short program can give one long name to many entries, which are
    // one then.
    let by_place: HashMap<usize, usize> = entries.iter().copied().collect();
    let mut by_place: Vec<(usize, usize)> = by_place.into_iter().collect();
    by_place.sort_unstable();
    let mut tensors = BTreeMap::new();
    for (key, value) in &by_place {
        if let (Some(Node::Text(name)), Some(Node::Tensor(tensor))) =
            (machine.nodes.get(*key), machine.nodes.get(*value))
        {
            if name.len() > MAX_NAME {
                return damaged("has a name far longer than any tensor's");
            }
            tensors.insert(name.as_str(), tensor);
        }
    }
    if tensors.len() > MAX_TENSORS {
        return damaged("names far more tensors than any model has");
    }
    if tensors.is_empty() && !entries.is_empty() {
        return Err(Refused("its dictionary holds no tensors; save a model's state_dict()".into()));
    }
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), Tensor::clone(tensor))).collect();
    Ok((tensors, machine.at))
}

/// The texts of a program's list, and the length of the program.
pub(super) fn read_texts(program: &[u8]) -> Result<(Vec<String>, usize), Error> {
    let (machine, top) = run(program)?;
    let text = |place: &usize| match machine.nodes.get(*place) {
        Some(Node::Text(text)) if text.len() <= MAX_KEY => Some(text.clone()),
        _ => None,
    };
    match machine.nodes.get(top) {
        Some(Node::List(items)) => {
            let texts = items.iter().map(text).collect::<Option<_>>();
            Ok((texts.ok_or(Damaged("its list of storages makes no sense".into()))?, machine.at))
        }
        _ => damaged("has no list of storages"),
    }
}

/// The length of a program whose result is not asked for.
pub(super) fn skip(program: &[u8]) -> Result<usize, Error> {
    run(program).map(|(machine, _)| machine.at)
}

fn run(program: &[u8]) -> Result<(Machine<'_>, usize), Error> {
    if program.len() > MAX_PROGRAM {
        return damaged("is far longer than any model's");
    }
    let (nodes, stack, marks, memo) = (vec![], vec![], vec![], HashMap::new());
    let mut machine = Machine { program, at: 0, nodes, plain: None, stack, marks, memo };
    let top = machine.run()?;
    Ok((machine, top))
}

struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    /// Every value made so far.
    nodes: Vec<Node>,
    /// The place of the one that nothing depends on.
    plain: Option<usize>,
    /// Places in `nodes`.
    stack: Vec<usize>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let to = usize::try_from(length).ok().and_then(|n| self.at.checked_add(n));
        let Some(taken) = to.and_then(|to| self.program.get(self.at..to)) else {
            return damaged("is cut off");
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn number(&mut self, length: u64) -> Result<u64, Error> {
        Ok(self.take(length)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn line(&mut self) -> Result<String, Error> {
        let rest = self.program.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|b| *b == b'\n') else { return damaged("is cut off") };
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn text(&mut self, length: u64) -> Result<(), Error> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// All values that nothing depends on are one.
    fn push_plain(&mut self) {
        match self.plain {
            Some(place) => self.stack.push(place),
            None => {
                self.plain = Some(self.nodes.len());
                self.push(Node::Plain);
            }
        }
    }

    fn pop(&mut self) -> Result<usize, Error> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return damaged("takes a value that is not there");
        }
        self.stack.pop().map_or_else(|| damaged("takes a value that is not there"), Ok)
    }

    /// The values since the last mark.
    fn since_mark(&mut self) -> Result<Vec<usize>, Error> {
        let Some(mark) = self.marks.pop() else { return damaged("takes values without their beginning") };
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, length: usize) -> Result<(), Error> {
        let mut values = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        values.reverse();
        self.push(Node::Tuple(values));
        Ok(())
    }

    fn set_items(&mut self, items: &[usize]) -> Result<(), Error> {
        let Some(Node::Dict(entries)) = self.stack.last().and_then(|top| self.nodes.get_mut(*top)) else {
            return damaged("sets entries of what is no dictionary");
        };
        entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn append(&mut self, items: &[usize]) -> Result<(), Error> {
        let Some(Node::List(list)) = self.stack.last().and_then(|top| self.nodes.get_mut(*top)) else {
            return damaged("appends to what is no list");
        };
        list.extend(items);
        Ok(())
    }

    fn remember(&mut self, place: u64) -> Result<(), Error> {
        let Some(top) = self.stack.last() else { return damaged("remembers a value that is not there") };
        self.memo.insert(place, *top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), Error> {
        let Some(node) = self.memo.get(&place) else { return damaged("recalls a value that is not there") };
        self.stack.push(*node);
        Ok(())
    }

    /// Follows the program; gives the place of its result.
    fn run(&mut self) -> Result<usize, Error> {
        loop {
            let most = self.nodes.len().max(self.stack.len()).max(self.memo.len()).max(self.marks.len());
            if most > MAX_NODES {
                return damaged("makes far more values than any model's");
            }
            let code = self.take(1)?.first().copied().unwrap_or(0);
            match code {
                // Version, and frames of later versions: nothing to do.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'N' | 0x88 | 0x89 => self.push_plain(),
                b'G' => {
                    self.take(8)?;
                    self.push_plain();
                }
                b'J' => {
                    let n = self.number(4)? as u32 as i32;
                    self.push(Node::Integer(i64::from(n)));
                }
                b'K' => {
                    let n = self.number(1)?;
                    self.push(Node::Integer(n as i64));
                }
                b'M' => {
                    let n = self.number(2)?;
                    self.push(Node::Integer(n as i64));
                }
                0x8a => self.long()?,
                b'X' | b'T' => {
                    let length = self.number(4)?;
                    self.text(length)?;
                }
                0x8c | b'U' => {
                    let length = self.number(1)?;
                    self.text(length)?;
                }
                b'}' => self.push(Node::Dict(vec![])),
                b']' => self.push(Node::List(vec![])),
                b')' => self.push(Node::Tuple(vec![])),
                b't' => {
                    let values = self.since_mark()?;
                    self.push(Node::Tuple(values));
                }
                0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set_items(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(&items)?;
                }
                b'q' | b'r' => {
                    let place = self.number(if code == b'q' { 1 } else { 4 })?;
                    self.remember(place)?;
                }
                0x94 => self.remember(self.memo.len() as u64)?,
                b'h' | b'j' => {
                    let place = self.number(if code == b'h' { 1 } else { 4 })?;
                    self.recall(place)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let text = |node: usize| match self.nodes.get(node) {
                        Some(Node::Text(text)) => text.clone(),
                        _ => String::new(),
                    };
                    let (module, name) = (text(module), text(name));
                    self.global(&module, &name)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.reduce()?,
                b'b' => self.build()?,
                other => {
                    return Err(Refused(format!(
                        "its pickle has the instruction 0x{other:02x}, which no dictionary of tensors needs"
                    )));
                }
            }
        }
    }

    /// A whole number of some bytes.
    fn long(&mut self) -> Result<(), Error> {
        let length = self.number(1)?;
        if length > 8 {
            return damaged("has a number beyond 64 bits");
        }
        let unused = 64 - 8 * length as u32;
        let n = self.number(length)?.checked_shl(unused).unwrap_or(0) as i64;
        self.push(Node::Integer(n.checked_shr(unused).unwrap_or(0)));
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Error> {
        let global = match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", storage) => storage_type(storage).map(Global::Storage),
            _ => None,
        };
        match global {
            Some(global) => self.push(Node::Global(global)),
            None => return Err(Refused(format!("it asks for {}.{}", shown(module), shown(name)))),
        }
        Ok(())
    }

    /// `("storage", type, key, device, length)` names bytes of the file; the oldest form adds `None`, or the key of
    /// a part of those bytes with its first number and length.
    fn storage(&mut self) -> Result<(), Error> {
        let id = self.pop()?;
        let Some(Node::Tuple(parts)) = self.nodes.get(id) else {
            return damaged("names bytes in a way that makes no sense");
        };
        if let [what, kind, key, _device, _length, rest @ ..] = parts.as_slice()
            && let (Some(Node::Text(what)), Some(Node::Global(Global::Storage(kind))), Some(Node::Text(key))) =
                (self.nodes.get(*what), self.nodes.get(*kind), self.nodes.get(*key))
            && let Some(first) = match rest {
                [] => Some(0),
                [view] => self.view(*view),
                _ => None,
            }
            && what == "storage"
            // They are numbers; a long one would be copied into every tensor.
            && key.len() <= MAX_KEY
        {
            let storage = Storage { kind: *kind, key: key.clone(), first };
            self.push(Node::Storage(Box::new(storage)));
            return Ok(());
        }
        damaged("names bytes in a way that makes no sense")
    }

    /// The first number of a part of a storage.
    fn view(&self, view: usize) -> Option<usize> {
        match self.nodes.get(view)? {
            Node::Plain => Some(0),
            Node::Tuple(parts) => match parts.as_slice() {
                [_key, first, _length] => self.size(*first),
                _ => None,
            },
            _ => None,
        }
    }

    /// What calling one of the known names would give.
    fn reduce(&mut self) -> Result<(), Error> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Some(Node::Global(function)) = self.nodes.get(function) else {
            return damaged("calls what is no function");
        };
        let Some(Node::Tuple(arguments)) = self.nodes.get(arguments) else {
            return damaged("calls a function without arguments");
        };
        match (function, arguments.as_slice()) {
            (Global::OrderedDict, []) => self.push(Node::Dict(vec![])),
            (Global::RebuildTensor, [storage, offset, shape, stride, ..]) => {
                let (Some(Node::Storage(storage)), Some(offset), Some(shape), Some(stride)) =
                    (self.nodes.get(*storage), self.size(*offset), self.sizes(*shape), self.sizes(*stride))
                else {
                    return damaged("describes a tensor that makes no sense");
                };
                let tensor = Tensor { storage: Storage::clone(storage), offset, shape, stride };
                self.push(Node::Tensor(Box::new(tensor)));
            }
            (Global::RebuildParameter, [tensor, ..]) => {
                let tensor = *tensor;
                self.stack.push(tensor);
            }
            _ => return damaged("calls a function with arguments it does not have"),
        }
        Ok(())
    }

    /// Attributes of a dictionary (versions of its modules) are not asked for.
    fn build(&mut self) -> Result<(), Error> {
        self.pop()?;
        match self.stack.last().and_then(|top| self.nodes.get(*top)) {
            Some(Node::Dict(_)) => Ok(()),
            _ => Err(Refused("it sets attributes of something that is no dictionary".into())),
        }
    }

    fn size(&self, node: usize) -> Option<usize> {
        match self.nodes.get(node)? {
            Node::Integer(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    fn sizes(&self, node: usize) -> Option<Vec<usize>> {
        match self.nodes.get(node)? {
            // Tensors have a handful of dimensions.
            Node::Tuple(sizes) if sizes.len() <= 8 => sizes.iter().map(|n| self.size(*n)).collect(),
            _ => None,
        }
    }
}

/// A name out of the file, short enough for a message and on one line.
fn shown(name: &str) -> String {
    name.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect()
}
