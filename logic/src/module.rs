//! Modules: checked when they are loaded, run within limits.

use wasmi::{
    Config, EnforcedLimits, Engine, Error, ExternType, FuncType, Linker, Module, Store,
    StoreLimitsBuilder, TrapCode, ValType,
};

use crate::host::{self, Host, NAMESPACE};
use crate::{LogicError, Opinion, Question};

/// The largest module, in bytes.
pub const MODULE_MOST: u64 = 1 << 20;

/// Frames of calls within calls, and bytes of their values. They bound what an endless recursion
/// takes before it is ended.
const DEPTH_MOST: usize = 1_000;
const STACK_MOST: usize = 1 << 20;

/// Entries of all tables together.
const TABLE_MOST: usize = 10_000;

/// Decision logic that was checked, and the limits that it runs within.
#[derive(Debug, Clone)]
pub struct Logic {
    module: Module,
    fuel: u64,
    memory_bytes: u32,
}

impl Logic {
    /// Checks a module.
    ///
    /// # Errors
    ///
    /// It is too large, no WebAssembly, wants other functions than there are, or lacks what it needs.
    pub fn new(bytes: &[u8], fuel: u32, memory_bytes: u32) -> Result<Self, LogicError> {
        if bytes.len() as u64 > MODULE_MOST {
            return Err(LogicError::TooLarge(bytes.len() as u64));
        }
        let module = Module::new(&engine(), bytes)
            .map_err(|error| LogicError::NotWasm(error.to_string()))?;
        check_imports(&module)?;
        check_exports(&module)?;
        Ok(Self {
            module,
            fuel: fuel.into(),
            memory_bytes,
        })
    }

    /// Decides; each time anew, with nothing left of the last time.
    ///
    /// # Errors
    ///
    /// It gave no answer.
    pub fn decide(&self, question: &Question) -> Result<Opinion, LogicError> {
        let mut store = Store::new(self.module.engine(), self.host(question));
        store.limiter(|host| &mut host.limits);
        self.run(&mut store).map_err(|error| self.reason(&error))?;
        let answer = store.into_data().answer.ok_or(LogicError::Silent)?;
        Opinion::parse(&answer)
    }

    fn run(&self, store: &mut Store<Host<'_>>) -> Result<(), Error> {
        let mut linker = Linker::new(self.module.engine());
        host::define(&mut linker)?;
        store.set_fuel(self.fuel)?;
        let instance = linker.instantiate_and_start(&mut *store, &self.module)?;
        let decide = instance.get_typed_func::<(), ()>(&*store, "decide")?;
        decide.call(store, ())
    }

    fn host<'a>(&self, question: &'a Question) -> Host<'a> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.memory_bytes as usize)
            .table_elements(TABLE_MOST)
            .instances(1)
            .memories(1)
            .tables(1)
            .trap_on_grow_failure(true)
            .build();
        Host {
            question,
            answer: None,
            limits,
        }
    }

    /// Why a run came to nothing, without words of the interpreter where there are better ones.
    fn reason(&self, error: &Error) -> LogicError {
        if let Some(fault) = error.downcast_ref::<LogicError>() {
            return fault.clone();
        }
        match error.as_trap_code() {
            Some(TrapCode::OutOfFuel) => LogicError::Fuel(self.fuel),
            Some(TrapCode::StackOverflow) => LogicError::Depth,
            Some(TrapCode::GrowthOperationLimited) => LogicError::Memory(self.memory_bytes),
            Some(code) => LogicError::Trap(code.to_string()),
            None if is_about_memory(error) => LogicError::Memory(self.memory_bytes),
            None => LogicError::Trap(error.to_string()),
        }
    }
}

/// True if the memory that a module begins with is too large already.
fn is_about_memory(error: &Error) -> bool {
    use wasmi::errors::{ErrorKind, InstantiationError, MemoryError};
    matches!(
        error.kind(),
        ErrorKind::Memory(
            MemoryError::ResourceLimiterDeniedAllocation | MemoryError::OutOfSystemMemory
        ) | ErrorKind::Instantiation(InstantiationError::FailedToInstantiateMemory(_))
    )
}

/// What every decision is run with. Nothing of it depends on the machine.
fn engine() -> Engine {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .set_max_recursion_depth(DEPTH_MOST)
        .set_max_stack_height(STACK_MOST)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .ignore_custom_sections(true)
        .enforced_limits(EnforcedLimits::strict());
    Engine::new(&config)
}

fn check_imports(module: &Module) -> Result<(), LogicError> {
    use ValType::I32;
    let known = |name: &str| match name {
        "read" => Some(FuncType::new([I32; 4], [I32])),
        "count" => Some(FuncType::new([I32; 2], [I32])),
        "answer" => Some(FuncType::new([I32; 2], [])),
        _ => None,
    };
    let is_known = |import: &wasmi::ImportType<'_>| {
        let wanted = known(import.name()).filter(|_| import.module() == NAMESPACE);
        wanted.is_some_and(|wanted| import.ty().func() == Some(&wanted))
    };
    match module.imports().find(|import| !is_known(import)) {
        Some(import) => {
            let name = format!("{}.{}", import.module(), import.name());
            Err(LogicError::Import(name))
        }
        None => Ok(()),
    }
}

fn check_exports(module: &Module) -> Result<(), LogicError> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(LogicError::Export("memory as `memory`"));
    }
    let decide = module.get_export("decide");
    let decide = decide.as_ref().and_then(ExternType::func);
    if decide.is_none_or(|it| !it.params().is_empty() || !it.results().is_empty()) {
        return Err(LogicError::Export(
            "function `decide` without parameters and results",
        ));
    }
    Ok(())
}
