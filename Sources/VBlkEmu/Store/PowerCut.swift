internal import Synchronization

extension EmulatedDisk {
  /// Cuts the power and puts it back on: requests under way are gone, the contents are what was on
  /// stable media, the status reads 0 as after a reset, and nobody is told.
  ///
  /// - Parameter loss: What becomes of the writes that no flush has covered.
  /// - Throws: ``EmulatorError`` where the cache isn't modelled, or the store fails.
  public func cutPower(_ loss: PowerLoss) throws(EmulatorError) {
    guard let cache = core.cache else {
      throw EmulatorError(
        .wrongState, "the cache of \(core.name) isn't modelled",
        remedy: "make the disk with modelsCache")
    }
    let error = core.registers.withLock { file in
      core.reset(&file)
      return core.store.withLock { store in core.queues.withAllStopped { cache.cut(loss, store) } }
    }
    guard error == 0 else {
      throw EmulatorError(
        .system, "the store failed at a power cut: errno \(error)", remedy: "free its disk")
    }
  }

  /// Writes that a power cut now could lose; 0 where the cache isn't modelled.
  public var volatileWrites: Int { core.cache?.count ?? 0 }
}
