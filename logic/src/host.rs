//! The three functions that a module may call, and what calls cost.

use wasmi::errors::HostError;
use wasmi::{Caller, Error, Extern, Linker, Memory, StoreLimits};

use crate::{LogicError, Question};

/// Where a module imports from.
pub(crate) const NAMESPACE: &str = "placet";

/// What a call costs beside a unit for each byte that it reads or writes.
const CALL_FUEL: u64 = 100;

/// The longest JSON pointer, in bytes.
const POINTER_MOST: u32 = 4_096;

/// What belongs to one decision.
pub(crate) struct Host<'a> {
    pub(crate) question: &'a Question,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) limits: StoreLimits,
}

impl HostError for LogicError {}

pub(crate) fn define(linker: &mut Linker<Host<'_>>) -> Result<(), wasmi::errors::LinkerError> {
    linker.func_wrap(NAMESPACE, "read", read)?;
    linker.func_wrap(NAMESPACE, "count", count)?;
    linker.func_wrap(NAMESPACE, "answer", answer)?;
    Ok(())
}

fn read(
    mut caller: Caller<'_, Host<'_>>,
    path: u32,
    path_length: u32,
    to: u32,
    room: u32,
) -> Result<i32, Error> {
    let pointer = pointer(&mut caller, "read", path, path_length)?;
    let Some(text) = caller.data().question.text(&pointer) else {
        return Ok(-1);
    };
    spend(&mut caller, text.len() as u64)?;
    let copied = text.len().min(room as usize);
    let memory = memory(&caller, "read")?;
    let data = memory.data_mut(&mut caller);
    let place = to as usize..to as usize + copied;
    let place = data.get_mut(place).ok_or(LogicError::Bounds("read"));
    place
        .map_err(Error::host)?
        .copy_from_slice(&text.as_bytes()[..copied]);
    Ok(size(text.len()))
}

fn count(mut caller: Caller<'_, Host<'_>>, path: u32, path_length: u32) -> Result<i32, Error> {
    let pointer = pointer(&mut caller, "count", path, path_length)?;
    Ok(caller.data().question.count(&pointer).map_or(-1, size))
}

fn answer(mut caller: Caller<'_, Host<'_>>, from: u32, length: u32) -> Result<(), Error> {
    let bytes = bytes(&mut caller, "answer", from, length)?;
    match caller.data_mut().answer.replace(bytes) {
        None => Ok(()),
        Some(_) => Err(Error::host(LogicError::Twice)),
    }
}

/// A size as a module is told it; what is larger than it could address is as large as it can say.
fn size(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn pointer(
    caller: &mut Caller<'_, Host<'_>>,
    function: &'static str,
    from: u32,
    length: u32,
) -> Result<String, Error> {
    if length > POINTER_MOST {
        return Err(Error::host(LogicError::Bounds(function)));
    }
    // What is no text points nowhere.
    let bytes = bytes(caller, function, from, length)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|_| "-".to_owned()))
}

/// A copy of a part of the module's memory.
fn bytes(
    caller: &mut Caller<'_, Host<'_>>,
    function: &'static str,
    from: u32,
    length: u32,
) -> Result<Vec<u8>, Error> {
    spend(caller, length.into())?;
    let memory = memory(caller, function)?;
    let place = from as usize..from as usize + length as usize;
    let bytes = memory.data(&*caller).get(place);
    let bytes = bytes.ok_or(LogicError::Bounds(function));
    bytes.map(<[u8]>::to_vec).map_err(Error::host)
}

fn memory(caller: &Caller<'_, Host<'_>>, function: &'static str) -> Result<Memory, Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| Error::host(LogicError::Bounds(function)))
}

fn spend(caller: &mut Caller<'_, Host<'_>>, bytes: u64) -> Result<(), Error> {
    let left = caller.get_fuel()?.checked_sub(CALL_FUEL + bytes);
    match left {
        Some(left) => caller.set_fuel(left),
        None => Err(wasmi::TrapCode::OutOfFuel.into()),
    }
}
