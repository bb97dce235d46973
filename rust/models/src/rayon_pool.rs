//! In the place of rayon's pool: a thread for each thing to do.

use std::io;

/// As rayon's.
#[derive(Debug, Default)]
pub struct ThreadPoolBuilder(());

/// As rayon's.
#[derive(Debug)]
pub struct ThreadPool(());

/// As rayon's.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'scope, 'env: 'scope>(&'scope shuttle::thread::Scope<'scope, 'env>);

impl ThreadPoolBuilder {
    /// As rayon's.
    pub fn new() -> Self {
        Self::default()
    }

    /// As rayon's, but there are always enough.
    pub fn num_threads(self, _: usize) -> Self {
        self
    }

    /// As rayon's.
    ///
    /// # Errors
    /// None.
    pub fn build(self) -> io::Result<ThreadPool> {
        Ok(ThreadPool(()))
    }
}

impl ThreadPool {
    /// As rayon's.
    pub fn in_place_scope<'env, R>(
        &self,
        work: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> R,
    ) -> R {
        shuttle::thread::scope(|scope| work(&Scope(scope)))
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// As rayon's.
    pub fn spawn(&self, work: impl FnOnce(&Scope<'scope, 'env>) + Send + 'scope) {
        let scope = *self;
        self.0.spawn(move || work(&scope));
    }
}
