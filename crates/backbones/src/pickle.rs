//! A machine for the pickles of PyTorch that executes nothing.
//!
//! A pickle is a program: it may call any function of any module, which is how a file of weights can
//! run code in Python. This machine builds plain values only. Of the functions it knows the few that
//! a dictionary of tensors is made of, and "calling" one of those makes a record of what it was called
//! with. Every other name, and every other instruction, is an error.
//!
//! Values live in lists and refer to each other by index: no nesting, however deep, can exhaust the
//! stack, and what is referred to many times is stored once. [`MAXIMUM_BYTES`] and
//! [`MAXIMUM_VALUES`] bound the memory.

use std::collections::HashMap;

use crate::pytorch::PytorchError;

/// The longest pickle that is read. Those of the largest published networks have some hundred
/// kilobytes.
pub(crate) const MAXIMUM_BYTES: usize = 8 << 20;
/// The most values that may be on the stack, remembered, or made.
const MAXIMUM_VALUES: usize = 1 << 20;
/// The most tensors and the most storages.
const MAXIMUM_TENSORS: usize = 1 << 16;
/// The most axes of a tensor.
const MAXIMUM_AXES: usize = 16;

/// A value. Those that hold others are an index of [`Machine`]'s lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than eight bytes, little-endian, or a floating-point number: not looked at.
    Number(&'a [u8]),
    Text(&'a str),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

/// The names that a state dict is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A storage by the type of its elements.
    StorageType(ElementType),
}

/// The types of a storage's elements that have a class of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    /// Not a floating-point number: its name in PyTorch and its bytes.
    Other(&'static str, usize),
}

impl ElementType {
    /// Bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F32 => 4,
            ElementType::F64 => 8,
            ElementType::Other(_, bytes) => bytes,
        }
    }
}

/// Numbers that one or more tensors are views of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StorageRecord<'a> {
    pub(crate) element: ElementType,
    /// Its name in the file.
    pub(crate) key: &'a str,
    pub(crate) elements: usize,
}

/// A view of a storage; all in elements.
#[derive(Debug, Clone)]
pub(crate) struct TensorRecord {
    /// The index of the storage.
    pub(crate) storage: usize,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// What runs pickles, and what came of those run so far.
#[derive(Debug, Default)]
pub(crate) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// The heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
    /// Pairs of lists that became dictionaries: the only values that can be stored twice.
    copied: usize,
    /// Tuples and lists.
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub(crate) storages: Vec<StorageRecord<'a>>,
    pub(crate) tensors: Vec<TensorRecord>,
}

impl<'a> Machine<'a> {
    /// A machine for the pickles that `bytes` begin with.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Machine {
            bytes,
            ..Machine::default()
        }
    }

    /// Where the pickles run so far end.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The members of a tuple or list; none of another value.
    pub(crate) fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(index) | Value::List(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The keys and values of a dictionary in the order of their insertion; none of another value. A
    /// key may occur several times: the last one counts.
    pub(crate) fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    /// Runs the next pickle and gives its value.
    pub(crate) fn run(&mut self) -> Result<Value<'a>, PytorchError> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let start = self.at;
            let instruction = self.byte()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction, start)?;
            let made = self.sequences.len() + self.dicts.len() + self.copied;
            let most = self.stack.len().max(self.marks.len()).max(self.memo.len());
            if self.tensors.len().max(self.storages.len()) > MAXIMUM_TENSORS {
                return Err(PytorchError::Limit {
                    what: "tensors in its pickle",
                    limit: MAXIMUM_TENSORS as u64,
                });
            }
            if made.max(most) > MAXIMUM_VALUES {
                return Err(PytorchError::Limit {
                    what: "values in its pickle",
                    limit: MAXIMUM_VALUES as u64,
                });
            }
        }
    }

    /// The instructions of protocols 2 to 5 that a dictionary of tensors needs, under their names in
    /// Python's `pickletools`.
    fn step(&mut self, instruction: u8, start: usize) -> Result<(), PytorchError> {
        match instruction {
            // PROTO, FRAME: they announce what the machine finds by itself.
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            // BININT, BININT1, BININT2
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(i64::from(number)));
            }
            b'K' => {
                let number = self.byte()?;
                self.push(Value::Int(i64::from(number)));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(i64::from(number)));
            }
            // LONG1
            0x8a => {
                let length = usize::from(self.byte()?);
                let bytes = self.take(length)?;
                self.push(match long(bytes) {
                    Some(number) => Value::Int(number),
                    None => Value::Number(bytes),
                });
            }
            // BINFLOAT
            b'G' => {
                let bytes = self.take(8)?;
                self.push(Value::Number(bytes));
            }
            // BINUNICODE, SHORT_BINUNICODE; BINSTRING, SHORT_BINSTRING, which Python 2 wrote.
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)?;
            }
            0x8c | b'U' => {
                let length = usize::from(self.byte()?);
                self.text(length)?;
            }
            b')' => self.sequence_of(Value::Tuple, vec![]),
            b']' => self.sequence_of(Value::List, vec![]),
            b'}' => self.new_dict(vec![]),
            // TUPLE, TUPLE1, TUPLE2, TUPLE3
            b't' => {
                let members = self.since_mark()?;
                self.sequence_of(Value::Tuple, members);
            }
            0x85..=0x87 => {
                let count = usize::from(instruction - 0x84);
                let first = self.stack.len().checked_sub(count);
                let first = first.ok_or_else(|| self.malformed("takes more values than there are"))?;
                let members = self.stack.split_off(first);
                self.sequence_of(Value::Tuple, members);
            }
            // APPEND, APPENDS
            b'a' => {
                let member = self.pop()?;
                self.append(vec![member])?;
            }
            b'e' => {
                let members = self.since_mark()?;
                self.append(members)?;
            }
            // SETITEM, SETITEMS
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let pairs = self.since_mark()?;
                self.set(&pairs)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let key = usize::from(self.byte()?);
                self.remember(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key as usize)?;
            }
            0x94 => self.remember(self.memo.len())?,
            // BINGET, LONG_BINGET
            b'h' => {
                let key = usize::from(self.byte()?);
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key as usize)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(global(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(self.malformed("names a function by something else than text"));
                };
                self.push(Value::Global(global(module, name)?));
            }
            b'R' => self.call()?,
            // BINPERSID
            b'Q' => self.storage()?,
            // BUILD: sets attributes. An OrderedDict has the versions of modules there, which change
            // no tensor.
            b'b' => {
                self.pop()?;
                if !matches!(self.stack.last(), Some(Value::Dict(_))) {
                    return Err(self.malformed("sets the attributes of what is no dictionary"));
                }
            }
            _ => {
                return Err(PytorchError::Instruction {
                    instruction,
                    at: start,
                });
            }
        }
        Ok(())
    }

    /// REDUCE: calls a function of the known ones.
    fn call(&mut self) -> Result<(), PytorchError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Global(function), Value::Tuple(index)) = (function, arguments) else {
            return Err(self.malformed("calls what is no function"));
        };
        // A copy of a few indices: a function's arguments are not many.
        let arguments: Vec<Value<'a>> = match self.sequences.get(index) {
            Some(arguments) if arguments.len() <= 8 => arguments.clone(),
            _ => return Err(self.malformed("calls a function with too many arguments")),
        };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.new_dict(vec![]),
            // What Python 2 wrote.
            (Global::OrderedDict, [pairs]) => {
                let wrong = "makes an OrderedDict from what is no list of pairs";
                let pairs = self.sequence(*pairs).ok_or_else(|| self.malformed(wrong))?;
                let pairs = pairs.iter().map(|pair| match self.sequence(*pair) {
                    Some(&[key, value]) => Ok((key, value)),
                    _ => Err(self.malformed(wrong)),
                });
                let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
                self.copied += pairs.len();
                self.new_dict(pairs);
            }
            (Global::RebuildTensor, [storage, offset, shape, strides, _gradient, _hooks, ..]) => {
                let tensor = self.tensor(*storage, *offset, *shape, *strides)?;
                self.tensors.push(tensor);
                self.push(Value::Tensor(self.tensors.len() - 1));
            }
            (Global::RebuildParameter, [Value::Tensor(index), _gradient, _hooks]) => {
                self.push(Value::Tensor(*index));
            }
            (Global::StorageType(_), _) => {
                return Err(self.malformed("calls a type of storages, which are named only"));
            }
            _ => return Err(self.malformed("calls a function with arguments that it does not take")),
        }
        Ok(())
    }

    fn tensor(
        &self,
        storage: Value<'a>,
        offset: Value<'a>,
        shape: Value<'a>,
        strides: Value<'a>,
    ) -> Result<TensorRecord, PytorchError> {
        let Value::Storage(storage) = storage else {
            return Err(self.malformed("makes a tensor without a storage"));
        };
        let natural = |value: &Value<'a>| match value {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        let axes = |value| {
            let members = self.sequence(value).filter(|m| m.len() <= MAXIMUM_AXES)?;
            members.iter().map(natural).collect::<Option<Vec<usize>>>()
        };
        match (natural(&offset), axes(shape), axes(strides)) {
            (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => Ok(TensorRecord {
                storage,
                offset,
                shape,
                strides,
            }),
            _ => Err(self.malformed("makes a tensor of a shape that is none")),
        }
    }

    /// BINPERSID: `("storage", type, key, location, elements)`, and in the older format a view, which
    /// no version since 0.4 has written.
    fn storage(&mut self) -> Result<(), PytorchError> {
        let id = self.pop()?;
        let record = match self.sequence(id) {
            Some(
                &[
                    Value::Text("storage"),
                    Value::Global(Global::StorageType(element)),
                    Value::Text(key),
                    Value::Text(_location),
                    Value::Int(elements),
                    ref view @ ..,
                ],
            ) if view.is_empty() || view == [Value::None] => {
                usize::try_from(elements).ok().map(|elements| StorageRecord {
                    element,
                    key,
                    elements,
                })
            }
            _ => None,
        };
        let record = record.ok_or_else(|| self.malformed("refers to what is no storage"))?;
        self.storages.push(record);
        self.push(Value::Storage(self.storages.len() - 1));
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(value);
    }

    /// Takes the topmost value, but none from below the last mark.
    fn pop(&mut self) -> Result<Value<'a>, PytorchError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.malformed("takes more values than there are"));
        }
        self.stack
            .pop()
            .ok_or_else(|| self.malformed("takes more values than there are"))
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, PytorchError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.malformed("has no mark")),
        }
    }

    fn sequence_of(&mut self, kind: fn(usize) -> Value<'a>, members: Vec<Value<'a>>) {
        self.sequences.push(members);
        self.push(kind(self.sequences.len() - 1));
    }

    fn new_dict(&mut self, pairs: Vec<(Value<'a>, Value<'a>)>) {
        self.dicts.push(pairs);
        self.push(Value::Dict(self.dicts.len() - 1));
    }

    fn append(&mut self, mut members: Vec<Value<'a>>) -> Result<(), PytorchError> {
        match self.stack.last() {
            Some(Value::List(index)) => {
                self.sequences[*index].append(&mut members);
                Ok(())
            }
            _ => Err(self.malformed("appends to what is no list")),
        }
    }

    fn set(&mut self, pairs: &[Value<'a>]) -> Result<(), PytorchError> {
        let (pairs, odd) = pairs.as_chunks::<2>();
        match self.stack.last() {
            Some(Value::Dict(index)) if odd.is_empty() => {
                self.dicts[*index].extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(self.malformed("sets an item of what is no dictionary")),
        }
    }

    fn remember(&mut self, key: usize) -> Result<(), PytorchError> {
        match self.stack.last() {
            Some(value) => {
                self.memo.insert(key, *value);
                Ok(())
            }
            None => Err(self.malformed("remembers a value that is not there")),
        }
    }

    fn recall(&mut self, key: usize) -> Result<(), PytorchError> {
        match self.memo.get(&key) {
            Some(value) => {
                self.stack.push(*value);
                Ok(())
            }
            None => Err(self.malformed("recalls a value that was not remembered")),
        }
    }

    fn text(&mut self, length: usize) -> Result<(), PytorchError> {
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| self.malformed("has text that is not UTF-8"))?;
        self.push(Value::Text(text));
        Ok(())
    }

    /// Up to the next line feed, which is passed.
    fn line(&mut self) -> Result<&'a str, PytorchError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == b'\n');
        let length = length.ok_or(PytorchError::Truncated { what: "its pickle" })?;
        let line = std::str::from_utf8(&rest[..length]);
        self.at += length + 1;
        line.map_err(|_| self.malformed("has a name that is not UTF-8"))
    }

    fn byte(&mut self) -> Result<u8, PytorchError> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PytorchError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(array) => {
                self.at += N;
                Ok(*array)
            }
            None => Err(PytorchError::Truncated { what: "its pickle" }),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PytorchError> {
        let end = self.at.checked_add(length);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(PytorchError::Truncated { what: "its pickle" }),
        }
    }

    fn malformed(&self, what: &'static str) -> PytorchError {
        PytorchError::Pickle { what, at: self.at }
    }
}

/// A little-endian integer in two's complement of up to eight bytes.
fn long(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut whole = if negative { [0xff; 8] } else { [0; 8] };
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

fn global(module: &str, name: &str) -> Result<Global, PytorchError> {
    use ElementType::{Bf16, F16, F32, F64, Other};
    let element = |element| Ok(Global::StorageType(element));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
        ("torch", "FloatStorage") => element(F32),
        ("torch", "HalfStorage") => element(F16),
        ("torch", "BFloat16Storage") => element(Bf16),
        ("torch", "DoubleStorage") => element(F64),
        ("torch", "LongStorage") => element(Other("int64", 8)),
        ("torch", "IntStorage") => element(Other("int32", 4)),
        ("torch", "ShortStorage") => element(Other("int16", 2)),
        ("torch", "CharStorage") => element(Other("int8", 1)),
        ("torch", "ByteStorage") => element(Other("uint8", 1)),
        ("torch", "BoolStorage") => element(Other("bool", 1)),
        ("torch", "ComplexFloatStorage") => element(Other("complex64", 8)),
        ("torch", "ComplexDoubleStorage") => element(Other("complex128", 16)),
        _ => {
            // Only so much of a name as a message can show.
            let name: String = format!("{module}.{name}").chars().take(120).collect();
            Err(PytorchError::Global { name })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pickle: &[u8]) -> Result<(), PytorchError> {
        Machine::new(pickle).run().map(|_| ())
    }

    #[test]
    fn integers_have_a_sign() {
        for (bytes, number) in [
            (&[][..], Some(0)),
            (&[0xff], Some(-1)),
            (&[0xff, 0], Some(255)),
            (&[0, 0x80], Some(-32768)),
            (&[0; 9], None),
        ] {
            assert_eq!(long(bytes), number);
        }
    }

    #[test]
    fn values_are_shared_and_not_copied() {
        // A list of two references to a list of two references to ..., 40 deep: a trillion leaves.
        let mut pickle = vec![0x80, 2, b']', b'q', 0];
        for i in 0..40 {
            pickle.extend([b']', b'q', i + 1, b'h', i, b'a', b'h', i, b'a']);
        }
        pickle.push(b'.');
        let mut machine = Machine::new(&pickle);
        let root = machine.run().unwrap();
        assert_eq!(machine.sequence(root).unwrap().len(), 2);
        assert_eq!(machine.sequences.len(), 41);

        // A list that holds itself.
        run(b"]q\x00h\x00a.").unwrap();
    }

    #[test]
    fn depth_is_no_danger() {
        // Half a million tuples in tuples.
        let deep = [&b")"[..], &[0x85].repeat(500_000), b"."].concat();
        run(&deep).unwrap();
    }

    #[test]
    fn amounts_are_bounded() {
        for endless in [&b"N"[..], b"(", b"]", b"}", b")"] {
            let pickle = endless.repeat(MAXIMUM_VALUES + 2);
            assert!(
                matches!(run(&pickle), Err(PytorchError::Limit { .. })),
                "{endless:?}"
            );
        }
        // A thousand pairs, made a dictionary again and again.
        let mut copies = b"ccollections\nOrderedDict\nq\x00](".to_vec();
        copies.extend(b"NN\x86".repeat(1000));
        copies.extend(b"e\x85q\x01");
        copies.extend(b"h\x00h\x01R".repeat(2000));
        assert!(matches!(run(&copies), Err(PytorchError::Limit { .. })));
        // A tensor, made again and again.
        let mut tensors = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n".to_vec();
        tensors.extend(b"X\x01\x00\x00\x000X\x01\x00\x00\x000K\x01tQq\x00");
        tensors.extend(b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(h\x00K\x00))NNtq\x02");
        tensors.extend(b"h\x01h\x02R".repeat(MAXIMUM_TENSORS + 1));
        assert!(matches!(run(&tensors), Err(PytorchError::Limit { limit, .. }) if limit == 1 << 16));
        let mut memo = b"N".to_vec();
        for i in 0..=MAXIMUM_VALUES as u32 {
            memo.push(b'r');
            memo.extend(i.to_le_bytes());
        }
        assert!(matches!(run(&memo), Err(PytorchError::Limit { .. })));
    }

    #[test]
    fn nothing_else_is_known() {
        for (pickle, name) in [
            (&b"cposix\nsystem\n."[..], "posix.system"),
            (b"cbuiltins\neval\n.", "builtins.eval"),
            (b"ctorch\nload\n.", "torch.load"),
            (
                b"ctorch._utils\n_rebuild_tensor_v3\n.",
                "torch._utils._rebuild_tensor_v3",
            ),
            (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
            (b"ctorch.storage\nFloatStorage\n.", "torch.storage.FloatStorage"),
        ] {
            match run(pickle) {
                Err(PytorchError::Global { name: found }) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
        // INST, OBJ, NEWOBJ, EXT1, PERSID, and what is no instruction.
        for byte in [b'i', b'o', 0x81, 0x82, b'P', 0xff] {
            assert!(matches!(
                run(&[byte, b'.']),
                Err(PytorchError::Instruction { at: 0, .. })
            ));
        }
    }

    #[test]
    fn wrong_programs_are_errors() {
        for (pickle, what) in [
            (&b"."[..], "takes more values"),
            (b"(.", "takes more values"),
            (b"N(.", "takes more values"),
            (b"\x85.", "takes more values"),
            (b"t.", "no mark"),
            (b"a.", "takes more values"),
            (b"Na.", "no list"),
            (b"}NNNs.", "no dictionary"),
            (b"}(Nu.", "no dictionary"),
            (b"q\x00.", "remembers"),
            (b"h\x00.", "recalls"),
            (b"NNR.", "no function"),
            (b"ccollections\nOrderedDict\n(NNtR.", "does not take"),
            (b"ccollections\nOrderedDict\nN\x85R.", "no list of pairs"),
            (b"ccollections\nOrderedDict\n](NNNtt\x85R.", "no mark"),
            (b"ctorch\nFloatStorage\n)R.", "named only"),
            (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "does not take"),
            (
                b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))NNtR.",
                "without a storage",
            ),
            (b"NQ.", "no storage"),
            (b"NNb.", "no dictionary"),
            (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
            (b"K\x01K\x02\x93.", "something else than text"),
        ] {
            match run(pickle) {
                Err(error @ PytorchError::Pickle { .. }) => {
                    assert!(error.to_string().contains(what), "{what}: {error}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        for cut in [
            &b""[..],
            b"N",
            b"J\x00",
            b"X\xff\xff\xff\xff",
            b"cposix",
            b"\x8a\xff\x00",
            b"G",
        ] {
            assert!(matches!(run(cut), Err(PytorchError::Truncated { .. })), "{cut:?}");
        }
    }
}
